"""A base of 10 GiB with holes in it: the first plan reads it, and from then on a plan asks stat alone.

Beside it a process that imports click and does nothing, and sha256sum, which reads it all each time.
"""

from __future__ import annotations

import os
import shutil
import sys

from bench.measure import BANGERBUILD, SCRATCH, medians, print_table, timed

ROUNDS = 5
CONTENT_MIB = 512


def main() -> None:
    """Print a table of seconds and ratios."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    timed(["mke2fs", "-q", "-t", "ext4", "base.ext4", "10G"])
    with (SCRATCH / "content").open("wb") as file:
        for _ in range(CONTENT_MIB):
            file.write(os.urandom(1 << 20))
    timed(["debugfs", "-w", "-R", "write content content", "base.ext4"])
    (SCRATCH / "vm.toml").write_text('[image.base.rootfs]\next4 = "base.ext4"\n')
    first = timed([*BANGERBUILD, "apply", "-q"]).seconds
    sides = {
        "bangerbuild plan, second time": lambda: timed([*BANGERBUILD, "plan"]).seconds,
        'python -c "import click"': lambda: timed([sys.executable, "-c", "import click"]).seconds,
        "sha256sum": lambda: timed(["sha256sum", "base.ext4"]).seconds,
    }
    rows = medians(sides, ROUNDS)
    rows["bangerbuild apply, first time"] = first
    print_table(f"A base of 10 GiB with {CONTENT_MIB} MiB in it, whole processes", rows)
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
