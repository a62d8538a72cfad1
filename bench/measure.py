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
    peak_mib: float
    cpu_seconds: float
    """Of the processor, its children's included; other work on the machine hardly counts in it."""

    def __add__(self, other: Run) -> Run:
        """One after the other."""
        peak = max(self.peak_mib, other.peak_mib)
        return Run(self.seconds + other.seconds, peak, self.cpu_seconds + other.cpu_seconds)


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
    return Run(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


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


def median_runs(sides: dict[str, Callable[[], Run]], rounds: int) -> dict[str, Run]:
    """The same of all that a run takes; of a busy machine only the processor's time tells much."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            os.sync()
            runs[name].append(side())
    return {
        name: Run(
            statistics.median(run.seconds for run in taken),
            max(run.peak_mib for run in taken),
            statistics.median(run.cpu_seconds for run in taken),
        )
        for name, taken in runs.items()
    }


def print_runs(title: str, rows: dict[str, Run]) -> None:
    """Their seconds and, below, the processor's, each as `print_table` shows them."""
    print_table(title, {name: run.seconds for name, run in rows.items()})
    print_table("the same in seconds of the processor", {name: run.cpu_seconds for name, run in rows.items()})


def allocated_kib(path: Path) -> float:
    """What a file takes on disk."""
    return path.stat().st_blocks / 2


def print_table(title: str, rows: dict[str, float], *, unit: str = "s", scale: float = 1.0) -> None:
    """The first row is ours; each other is shown as a multiple of it."""
    ours = next(iter(rows.values()))
    print(f"\n{title}")
    for name, seconds in rows.items():
        print(f"  {name:<44} {seconds * scale:10.2f} {unit:<3} {seconds / ours:8.1f} x")
