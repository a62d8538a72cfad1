"""What many VMs cost: a manifest of so many, nothing of it built, and how the cost grows with their number.

Each VM has an image's default root, its patch, and launch files, so three steps. What is shown is the time
of the CPU and the peak memory of whole processes. Numbers on the command line replace those that are tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from bench.measure import BANGERBUILD, INSTALLED, SCRATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBERS = (1_000, 10_000, 100_000)
COMMANDS = (("validate",), ("plan",), ("plan", "--json"), ("status",))
MOST_GROWTH = 1.5
"""How much more a VM may cost among ten times as many."""
LEAST_SECONDS = 1.0
"""Below that it is the start of the program that costs."""


class Cost(NamedTuple):
    """Of one process."""

    cpu_seconds: float
    peak_mib: float


def main() -> None:
    """Print a table; exit with 1 if the cost of a VM grows with their number."""
    numbers = [int(text) for text in sys.argv[1:]] or NUMBERS
    shutil.rmtree(SCRATCH, ignore_errors=True)
    (SCRATCH / "tree/etc").mkdir(parents=True)
    costs: dict[tuple[str, int], Cost] = {}
    print(f"{'':<14}" + "".join(f"{count:>26,} VMs" for count in numbers))
    for count in numbers:
        write(count)
        for command in COMMANDS:
            costs[" ".join(command), count] = cost(command)
    for command in COMMANDS:
        name = " ".join(command)
        shown = [costs[name, count] for count in numbers]
        print(
            f"{name:<14}" + "".join(f"{one.cpu_seconds:>16.2f} s {one.peak_mib:>8.0f} MiB" for one in shown)
        )
    shutil.rmtree(SCRATCH)
    if grown := [text for command in COMMANDS if (text := growth(" ".join(command), costs))]:
        raise SystemExit("\n".join(grown))


def write(count: int) -> None:
    """A manifest of so many VMs."""
    head = '[image.base]\nrootfs = { directory = "tree", size = "16MiB" }\n'
    vms = "".join(f'[vm.m-{number:06}]\nimage = "base"\n' for number in range(count))
    (SCRATCH / "vm.toml").write_text(head + vms)


def cost(command: Sequence[str]) -> Cost:
    """What a command costs; a plan that has changes ends with 2."""
    process = subprocess.Popen(
        [*BANGERBUILD, *command], cwd=SCRATCH, env=INSTALLED, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in {0, 2}:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def growth(name: str, costs: dict[tuple[str, int], Cost]) -> str:
    """What there is to say if a VM costs more where there are more; else nothing."""
    counted = [(count, one.cpu_seconds / count) for (of, count), one in costs.items() if of == name]
    large = [(count, each) for count, each in counted if count * each >= LEAST_SECONDS]
    if len(large) < 2 or large[-1][1] <= MOST_GROWTH * large[0][1]:
        return ""
    return f"{name}: a VM costs {large[-1][1] / large[0][1]:.1f} times as much among {large[-1][0]:,}"


if __name__ == "__main__":
    main()
