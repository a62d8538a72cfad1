"""Starts bangerbuild over and over, as a user does, but from a process that has imported all of it already.

It reads a JSON document per line, `[ARGUMENTS, DIRECTORY, STDOUT, STDERR]`, and forks: the child stops until
it is told what of its calls to hit, and runs the command line. Its process id is answered with, and at the
end what it ended with.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from bangerbuild import cli, pipeline
from bangerbuild.disk import libext2fs, tools
from bangerbuild.host import process
from bangerbuild.model.request import Request
from tests import forking

PR_SET_CHILD_SUBREAPER = 36
"""Of linux/prctl.h: orphans below become children of this process."""
PRELOADED = ("LD_PRELOAD", "DRILL_CONTROL", "DRILL_SYNCS", "POWERCUT_CONTROL", "POWERCUT_SYNCS")


def serve() -> None:
    """Answer until stdin ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _warm_up()
    for line in sys.stdin:
        arguments, directory, stdout, stderr = json.loads(line)
        child = os.fork()
        if child == 0:
            _be_bangerbuild(arguments, directory, stdout, stderr)
        os.waitpid(child, os.WUNTRACED)  # it has stopped
        _answer(child)
        _, status = os.waitpid(child, 0)
        _await_orphans()
        _answer(os.waitstatus_to_exitcode(status))


def _await_orphans() -> None:
    """Wait for the programs that a killed run has left, which may write on for a moment."""
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _answer(value: int) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


def _warm_up() -> None:
    forking.load_program()
    libext2fs.version()
    process.run(tools.version())
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write('image.any.rootfs.directory = "."')
        file.flush()
        pipeline.load_request(Request((Path(file.name),)), print)
    _preload_into_programs()


def _preload_into_programs() -> None:
    """What bangerbuild starts gets an environment of its own, and from here on what is preloaded with it."""
    start = process._started
    preloaded = {name: os.environ[name] for name in PRELOADED if name in os.environ}
    process._started = lambda command, argv, environment, complaints: start(
        command, argv, {**environment, **preloaded}, complaints
    )


def _be_bangerbuild(arguments: list[str], directory: str, stdout: str, stderr: str) -> None:
    code = 1
    try:
        os.chdir(directory)
        for fd, path in enumerate((os.devnull, stdout, stderr)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
        sys.argv = ["bangerbuild", *arguments]
        os.kill(os.getpid(), signal.SIGSTOP)
        code = cli.run()
    except BaseException:  # noqa: BLE001  # as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
