"""Runs of bangerbuild that are killed, or whose calls fail, at a point that the test names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tests import PROJECT
from tests.drills.calls import Control, compiled
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.drills.calls import Hit, Seen


@dataclass(frozen=True)
class Ended:
    """A run that came to its end, one way or another."""

    code: int
    """The exit code; -9 if it was killed."""
    output: bytes
    errors: str
    seen: Seen

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def assert_done(self, *codes: int) -> None:
        """It did what it was told, and ended with one of these codes; 0 if none are given."""
        assert "Traceback" not in self.errors, self.errors
        assert self.code in (codes or (0,)), (self.code, self.output, self.errors)


class Armed(Protocol):
    """What is told before each run what to hit, and asked after it what happened."""

    def arm(self, below: Path, victim: int, hit: Hit | None) -> None:
        """Before the run."""

    def seen(self) -> Seen:
        """After it."""


class Runner:
    """Runs bangerbuild with `calls.c` inside; one run at a time.

    Args:
        server: see `starter`.
        control: what the server was started with.
        directory: for what the runs print.
    """

    def __init__(self, server: subprocess.Popen[str], control: Armed, directory: Path) -> None:
        self._server = server
        self._control = control
        self._directory = directory

    def run(self, *arguments: str, project: Path, hit: Hit | None = None) -> Ended:
        """Run one command in a project's directory; what counts happens in its store."""
        stdout, stderr = self._directory / "stdout", self._directory / "stderr"
        child = self._ask(json.dumps([arguments, str(project), str(stdout), str(stderr)]))
        assert child > 1, child  # anything else would be a group of processes to `kill`
        self._control.arm(project / "build", child, hit)
        os.kill(child, signal.SIGCONT)
        timer = threading.Timer(PATIENCE_SECONDS, os.kill, (child, signal.SIGKILL))
        timer.start()
        try:
            code = self._answer()
        finally:
            timer.cancel()
        return Ended(code, stdout.read_bytes(), stderr.read_text(), self._control.seen())

    def _ask(self, line: str) -> int:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


@contextmanager
def start_runner(directory: Path, *, through: tuple[str, ...] = (), **variables: str) -> Iterator[Runner]:
    """A runner, until the end of the with block.

    Args:
        directory: for what it needs and prints.
        through: the program that starts it, with arguments.
        variables: of its environment.
    """
    control = Control(directory / "control")
    preloaded = {"LD_PRELOAD": str(compiled(directory)), "DRILL_CONTROL": str(control.path)}
    with start_server("tests.drills.starter", through=through, **preloaded, **variables) as server:
        yield Runner(server, control, directory)


@contextmanager
def start_server(
    module: str, *, through: tuple[str, ...], **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """A `starter`, or a module that makes one, until the end of the with block."""
    with subprocess.Popen(
        [*through, sys.executable, "-m", module],
        env=os.environ | {"PYTHONPATH": str(PROJECT), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield server
        assert server.stdin is not None
        server.stdin.close()
