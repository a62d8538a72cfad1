"""What the benchmark programs share: runs of both sides in turn, medians, tables of ratios."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PROJECT = Path(__file__).parents[1]
SCRATCH = PROJECT / "build" / "bench"
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""What programs are run with: an installed one has its modules compiled."""
BANGERBUILD = (sys.executable, "-m", "bangerbuild")


@dataclass(frozen=True)
class Run:
    """What one process took."""

    seconds: float
    processor_seconds: float
    """Of it and of what it started; other work on the machine hardly counts in it."""
    peak_mib: float


def timed(command: Sequence[str | Path], cwd: Path = SCRATCH) -> Run:
    """Run a command to its good end; what it says is shown only if it ends badly."""
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)], cwd=cwd, env=INSTALLED, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace")
            raise SystemExit(f"{text}{' '.join(map(str, command))} ended with {process.returncode}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def removed(path: Path) -> None:
    """Have nothing at a path, neither file nor tree."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def medians(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Seconds of each side: the median of several rounds, in each of which every side has its turn."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            os.sync()  # nobody pays for what another left to be written
            taken[name].append(side())
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def allocated_kib(path: Path) -> float:
    """What a file takes on disk."""
    return path.stat().st_blocks / 2


def print_table(title: str, rows: dict[str, float], *, unit: str = "s", scale: float = 1.0) -> None:
    """The first row is ours; each other is shown as a multiple of it."""
    ours = next(iter(rows.values()))
    print(f"\n{title}")
    for name, seconds in rows.items():
        print(f"  {name:<44} {seconds * scale:10.2f} {unit:<3} {seconds / ours:8.1f} x")
