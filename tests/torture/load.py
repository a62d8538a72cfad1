"""Commands of all sorts on one store at once, some of them killed, stopped or interrupted."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests import PROJECT
from tests.torture.scene import FORMATS, LAST, NAMES
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARES: dict[str, int] = {
    "apply": 8,
    "plan": 3,
    "status": 3,
    "gc": 2,
    "verify": 1,
    "destroy": 1,
    "ls": 1,
    "recover": 1,
}
"""How often each command is given."""
RARELY = 0.05
"""How often the disks grow: after that, the other manifests would shrink them."""
HITS = {"none": 10, "kill": 3, "interrupt": 2, "stop": 2}
CODES = {0, 1, 2, 4, 130, -signal.SIGKILL}
"""What a command may end with. 3 is right of a disk that is not there; there is nothing else wrong."""
INTERRUPTED_AT_ITS_START = "KeyboardInterrupt"
"""Python itself prints a traceback of this if it is interrupted before the program has begun."""


@dataclass(frozen=True)
class Destroyed:
    """A VM that somebody wanted to go."""

    vm: str
    begun: float
    ended: float
    code: int


@dataclass
class Load:
    """What the workers share, and what they saw."""

    project: Path
    manifests: list[str]
    seed: int
    is_over: Callable[[int], bool]
    """Asked by each worker before each command, with the number of commands that it has given."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    destroyed: list[Destroyed] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    """What commands that failed said first, names left out."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, number: int) -> None:
        """What one worker does until it is over."""
        chance = random.Random(f"{self.seed} worker {number}")
        given = 0
        while not self.is_over(given):
            given += 1
            self._give(chance)

    def _give(self, chance: random.Random) -> None:
        command = chance.choices(list(SHARES), list(SHARES.values()))[0]
        arguments = self._arguments(command, chance)
        hit = chance.choices(list(HITS), list(HITS.values()))[0]
        begun = time.monotonic()
        code, output, errors = _run(self.project, arguments, hit, chance)
        with self.lock:
            self.counts.update((f"{command}", f"{hit} by a signal" if hit != "none" else "left alone"))
            self.counts[f"exit {code}"] += 1
            if command == "destroy":
                self.destroyed.append(Destroyed(arguments[-1][3:], begun, time.monotonic(), code))
            if code in (1, 4):
                self.errors[_first_error(errors)] += 1
            if fault := _fault(arguments, hit, code, output, errors):
                self.faults.append(fault)

    def _arguments(self, command: str, chance: random.Random) -> list[str]:
        weights = [RARELY if manifest == LAST else 1 for manifest in self.manifests]
        manifest = chance.choices(self.manifests, weights)[0]
        vm = chance.choice(sorted(FORMATS))
        return {
            "apply": ["apply", manifest, f"-j{chance.choice((1, 2))}", *chance.choice(([], ["-k"]))],
            "plan": ["plan", manifest, "--json"],
            "status": ["status", manifest, "--json"],
            "gc": ["gc", manifest, *chance.choice(([], ["-n"]))],
            "verify": ["verify", manifest, "--json"],
            "destroy": ["destroy", manifest, "--yes", "--target", f"vm.{vm}"],
            "ls": ["ls", f"build/vms/{vm}/{chance.choice(NAMES)}", "/"],
            "recover": ["recover", manifest],
        }[command]


def _run(project: Path, arguments: list[str], hit: str, chance: random.Random) -> tuple[int, str, str]:
    """Run a command and hit it once; its exit code and what it printed."""
    command = [sys.executable, "-m", "bangerbuild", *arguments]
    with subprocess.Popen(
        command,
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        timers = [threading.Timer(*one) for one in _hits(process, hit, chance)]
        for timer in timers:
            timer.start()
        try:
            output, errors = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(), "", f"Traceback: it did not end: {arguments}"
        finally:
            for timer in timers:
                timer.cancel()
    return process.returncode, output, errors


def _hits(
    process: subprocess.Popen[str], hit: str, chance: random.Random
) -> list[tuple[float, Callable[[], None]]]:
    after = chance.uniform(0.2, 3)
    longer = after + chance.uniform(0.1, 2)

    def sending(number: signal.Signals) -> Callable[[], None]:
        return lambda: process.send_signal(number)

    return {
        "none": [],
        "kill": [(after, sending(signal.SIGKILL))],
        "interrupt": [(after, sending(signal.SIGINT))],
        "stop": [(after, sending(signal.SIGSTOP)), (longer, sending(signal.SIGCONT))],
    }[hit]


def _first_error(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip() and not line.startswith("warning:")]
    told = next((line for line in lines if "error" in line or "blocked" in line or "failed" in line), "")
    return re.sub(r"\b\d+\b|'[^']*'|[0-9a-f]{12,}", "…", told or " | ".join(lines[:1]))[:110]


def _fault(arguments: list[str], hit: str, code: int, output: str, errors: str) -> str:
    """What is wrong with the way in which a command ended, if anything is."""
    said = f"{' '.join(arguments)}: exit {code}\n{errors[-2000:]}"
    if "Traceback" in errors and not (hit == "interrupt" and INTERRUPTED_AT_ITS_START in errors):
        return said
    if code == 3 and "there is no disk" in errors:
        return ""
    if code not in CODES and not (hit == "interrupt" and code == -signal.SIGINT):
        return said
    if "--json" in arguments and code in (0, 2):
        try:
            json.loads(output)
        except ValueError:
            return f"{said}\nno JSON: {output[:300]}"
    return ""
