"""What a terminal costs: the same `apply` in a pipe, and on terminals of 60 and 200 columns.

Each run makes all VMs anew on images that are there, so that it prints a line for each of five steps a VM.
What is printed is read by this program, as fast as it comes. Beside seconds there is the processor's time,
which says more on a machine that others use too.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import termios
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, INSTALLED, SCRATCH
from bench.nothing import write_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZES = {300: 5, 2000: 3}
"""VMs, and rounds: 1,500 steps and 10,000."""
COLUMNS = (60, 200)
ROWS = 50
MOST = 1.2
PIPE = "in a pipe"


def main() -> None:
    """Print a table for each number of VMs."""
    for vms, rounds in SIZES.items():
        shutil.rmtree(SCRATCH, ignore_errors=True)
        SCRATCH.mkdir(parents=True)
        write_project(SCRATCH, vms)
        run(["apply", "-q", "--target", "image.base"], os.pipe())
        (SCRATCH / "build").rename(SCRATCH / "images")
        measure(vms, rounds)
    shutil.rmtree(SCRATCH)


def measure(vms: int, rounds: int) -> None:
    """Run every side in turn, and compare medians."""
    sides: dict[str, Callable[[], tuple[int, int]]] = {PIPE: os.pipe}
    sides |= {f"at {columns} columns": partial(terminal, columns) for columns in COLUMNS}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, opened in sides.items():
            shutil.rmtree(SCRATCH / "build", ignore_errors=True)
            subprocess.run(["cp", "-a", SCRATCH / "images", SCRATCH / "build"], check=True)
            os.sync()
            taken[name].append(run(["apply"], opened(), lines=5 * vms))
    print(f"\napply of {vms} VMs, {5 * vms} steps")
    seconds = {name: median(one for one, _ in runs) for name, runs in taken.items()}
    busy = {name: median(one for _, one in runs) for name, runs in taken.items()}
    for name in sides:
        ratios = f"{seconds[name] / seconds[PIPE]:6.2f} x   {busy[name] / busy[PIPE]:6.2f} x"
        print(f"  {name:<20} {seconds[name]:8.2f} s   {busy[name]:8.2f} s of the processor   {ratios}")
    print(f"  at most {MOST} x is wanted")


def terminal(columns: int) -> tuple[int, int]:
    """Both ends of a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    return ours, theirs


def run(
    words: list[str], ends: tuple[int, int], *, lines: int = 0, cwd: Path = SCRATCH
) -> tuple[float, float]:
    """Seconds, and those of the processor, of a run that prints at least so many lines."""
    reading, writing = ends
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*BANGERBUILD, *words],
        cwd=cwd,
        env=INSTALLED | {"TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    printed = read(reading)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, printed[-2000:].decode(errors="replace")
    assert printed.count(b"\n") >= lines, "lines are missing"
    return seconds, usage.ru_utime + usage.ru_stime


def read(descriptor: int) -> bytes:
    """All that is printed; the last end of a terminal that closes is an error."""
    pieces = []
    try:
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
    except OSError:
        pass
    os.close(descriptor)
    return b"".join(pieces)


if __name__ == "__main__":
    main()
