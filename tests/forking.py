"""Commands in processes forked from one which has loaded the program: what a user's do, without the imports.

To start Python and to load the program takes a third of a second, and most commands of the tests take less.
Each process is given its arguments, directory, environment, umask and streams as one that is started is. Two
things it shares with others: the seed of Python's hashes, and that all modules are loaded. A test of either
starts Python itself.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import json
import os
import pkgutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tests import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_BYTES = 1 << 17
"""Of a request: arguments and environment."""

PR_CAPBSET_DROP = 24
"""Of linux/prctl.h."""
LINUX_CAPABILITY_VERSION_3 = 0x20080522
"""Of linux/capability.h."""

START_SECONDS = 0.03
"""No process that is started looks at a file sooner than that: so what was written before it has settled."""

READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "FAKE", "PATH")
"""Beginnings of variables that count when a process starts, or when a module is loaded."""


@dataclass(frozen=True)
class Ended:
    """A command that came to its end."""

    command: Sequence[str]
    code: int
    """Its exit code, or minus the signal that ended it."""
    stdout: bytes
    stderr: bytes
    cpu_seconds: float
    """Its own, and of the programs that it started."""
    peak_kib: int
    """The most that it, or one of those programs, had in memory."""

    def as_text(self) -> subprocess.CompletedProcess[str]:
        """The same as `subprocess.run` has it."""
        return subprocess.CompletedProcess(
            self.command, self.code, self.stdout.decode(), self.stderr.decode()
        )


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    typed: str = "",
    is_privileged: bool = True,
) -> Ended:
    """Run `bangerbuild ARGUMENTS…` to its end.

    Args:
        arguments: what follows the program's name.
        cwd: the directory to run it in.
        env: its whole environment; by default that of the tests, and the tree under test, installed or not.
        typed: what it finds on stdin.
        is_privileged: whether what root may counts if root runs the tests; else file modes count for it too.
    """
    env = os.environ | {"PYTHONPATH": str(PROJECT)} if env is None else env
    words = [os.fspath(argument) for argument in arguments]
    at_start = tuple(sorted(pair for pair in env.items() if pair[0].startswith(READ_AT_START)))
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(typed.encode())
        streams = (stdin, out, err)
        for stream in streams:
            stream.seek(0)
        given = {
            "arguments": words,
            "cwd": str(cwd),
            "env": dict(env),
            "umask": _umask(),
            "is_privileged": is_privileged,
        }
        numbers = [stream.fileno() for stream in streams]
        time.sleep(START_SECONDS)
        code, cpu_seconds, peak_kib = _server(at_start).run(json.dumps(given).encode(), numbers)
        for stream in streams:
            stream.seek(0)
        command = [sys.executable, "-m", "bangerbuild", *words]
        return Ended(command, code, out.read(), err.read(), cpu_seconds, peak_kib)


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

    def run(self, request: bytes, streams: Sequence[int]) -> tuple[int, float, int]:
        """Run a command on three open files; its exit code, seconds of the processor, and peak in KiB."""
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as answer:
            try:
                socket.send_fds(self._requests, [request], [*streams, writer])
            finally:
                os.close(writer)
            code, cpu_seconds, peak_kib = json.load(answer)
            return code, cpu_seconds, peak_kib

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
    load_program()
    check = importlib.import_module("bangerbuild.uptodate.check")
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


def load_program() -> None:
    """Import all modules of the program."""
    import bangerbuild  # noqa: PLC0415  # the tests load of it what they test

    for module in pkgutil.walk_packages(bangerbuild.__path__, "bangerbuild."):
        if not module.name.endswith(("__main__", "cluster.scheduler")):  # which starts threads
            importlib.import_module(module.name)


def _wait_for_command(given: dict[str, Any], descriptors: Sequence[int], check: Any) -> NoReturn:  # noqa: ANN401
    *streams, answer = descriptors
    if (command := os.fork()) == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(len(streams), max(descriptors) + 1)
        if not given["is_privileged"]:
            _give_up_privileges()
        os.umask(given["umask"])
        os.environ.clear()
        os.environ.update(given["env"])
        os.chdir(given["cwd"])
        sys.argv[:] = ["bangerbuild", *given["arguments"]]
        check.BEGUN_NS = time.time_ns()
        importlib.import_module("bangerbuild.__main__")
    _, status, used = os.wait4(command, 0)
    ended = (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
    os.write(answer, json.dumps(ended).encode())
    os._exit(0)


def _give_up_privileges() -> None:
    """Root stays root by name, and so do its programs; capabilities(7) says what is left of it: nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    header = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, bytes(6 * 4)):
        raise OSError(ctypes.get_errno(), "capset")
