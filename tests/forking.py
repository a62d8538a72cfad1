"""Commands in processes forked from one which has loaded the program: what a user's do, without the imports.

To start Python and to load the program takes a third of a second, and most commands of the tests take less.
Each process is given its arguments, directory, environment, umask and streams as one that is started is. Two
things it shares with others: the seed of Python's hashes, and that all modules are loaded. A test of either
starts Python itself.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_BYTES = 1 << 17
"""Of a request: arguments and environment."""

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "FAKE", "PATH")
"""Beginnings of variables that count when a process starts, or when a module is loaded."""


def run(
    arguments: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `bangerbuild ARGUMENTS…` to its end.

    Args:
        arguments: what follows the program's name.
        cwd: the directory to run it in.
        env: its whole environment.
        typed: what it finds on stdin.
    """
    words = [str(argument) for argument in arguments]
    at_start = tuple(sorted(pair for pair in env.items() if pair[0].startswith(READ_AT_START)))
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(typed.encode())
        streams = [stdin.fileno(), out.fileno(), err.fileno()]
        for stream in (stdin, out, err):
            stream.seek(0)
        given = {"arguments": words, "cwd": str(cwd), "env": dict(env), "umask": _umask()}
        code = _server(at_start).run(json.dumps(given).encode(), streams)
        for stream in (out, err):
            stream.seek(0)
        command = [sys.executable, "-m", "bangerbuild", *words]
        return subprocess.CompletedProcess(command, code, out.read().decode(), err.read().decode())


def _umask() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("Umask:")[1].split()[0], 8)


class Server:
    """A process that has the program loaded, and has one forked for each request."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from tests import forking; forking.serve()"],
                cwd=PROJECT,
                env=environment,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )

    def run(self, request: bytes, streams: Sequence[int]) -> int:
        """Run a command on three open files; its exit code, or minus the signal that ended it."""
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as answer:
            try:
                socket.send_fds(self._requests, [request], [*streams, writer])
            finally:
                os.close(writer)
            return int(answer.read())

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait()


@functools.cache
def _server(at_start: tuple[tuple[str, str], ...]) -> Server:
    server = Server(dict(at_start))
    atexit.register(server.close)
    return server


def serve() -> None:
    """Answer what comes over stdin, until its other end is closed."""
    check = _load_program()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: it is for the tests
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for commands
    with socket.socket(fileno=os.dup(0)) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
            if not request:
                return
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _wait_for_command(json.loads(request), descriptors, check)
            for descriptor in descriptors:
                os.close(descriptor)


def _load_program() -> Any:  # noqa: ANN401  # a module
    import bangerbuild  # noqa: PLC0415  # the tests load of it what they test

    for module in pkgutil.walk_packages(bangerbuild.__path__, "bangerbuild."):
        if not module.name.endswith(("__main__", "cluster.scheduler")):  # which starts threads
            importlib.import_module(module.name)
    return importlib.import_module("bangerbuild.uptodate.check")


def _wait_for_command(given: dict[str, Any], descriptors: Sequence[int], check: Any) -> NoReturn:  # noqa: ANN401
    *streams, answer = descriptors
    if (command := os.fork()) == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(len(streams), max(descriptors) + 1)
        os.umask(given["umask"])
        os.environ.clear()
        os.environ.update(given["env"])
        os.chdir(given["cwd"])
        sys.argv[:] = ["bangerbuild", *given["arguments"]]
        check.BEGUN_NS = time.time_ns()
        importlib.import_module("bangerbuild.__main__")
    _, status = os.waitpid(command, 0)
    os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)
