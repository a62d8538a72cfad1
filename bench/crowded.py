"""100,000 files in one directory to ext4: ours, from the directory and from a tarball, beside mke2fs -d.

All sides end in a sync. mke2fs looks through the directory for each name that it adds to it, so its time
grows with the square of their number: it has one round, and ours several.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, Run, medians, print_table, removed, timed

if TYPE_CHECKING:
    from pathlib import Path

FILES = 100_000
SIZE = "2GiB"
ROUNDS = 3
LIMIT_SECONDS = 240


def main() -> None:
    """Print a table of seconds and ratios, and the most memory that our side took."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    tree = SCRATCH / "tree"
    (tree / "crowded").mkdir(parents=True)
    for number in range(FILES):
        (tree / f"crowded/file-{number:06}.txt").write_text(f"{number}\n")
    timed(["tar", "-cf", "tree.tar", "-C", tree, "."])
    for name in ("directory", "tar"):
        source = {"directory": "tree", "tar": "tree.tar"}[name]
        (SCRATCH / f"{name}.toml").write_text(f'[image.i.rootfs]\n{name} = "{source}"\nsize = "{SIZE}"\n')
    runs: list[Run] = []
    rows = medians({"bangerbuild, from the directory": lambda: ours("directory", runs)}, ROUNDS)
    rows |= medians({"bangerbuild, from a tarball": lambda: ours("tar", runs)}, ROUNDS)
    rows |= medians({"mke2fs -d + sync, once": lambda: theirs(tree)}, 1)
    print_table(f"{FILES} files in one directory to a {SIZE} ext4, whole processes", rows)
    print(f"  bangerbuild's peak: {max(run.peak_mib for run in runs):.0f} MiB resident")
    shutil.rmtree(SCRATCH)


def ours(name: str, runs: list[Run]) -> float:
    """Seconds of a build from nothing."""
    removed(SCRATCH / "build")
    runs.append(timed([*BANGERBUILD, "apply", "-q", f"{name}.toml"]))
    return runs[-1].seconds


def theirs(tree: Path) -> float:
    """Seconds of mke2fs, with inodes for all; no more than it is given."""
    inodes = str(FILES * 5 // 4)
    command: list[str | Path] = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-N",
        inodes,
        "-d",
        tree,
        "theirs.ext4",
        "2G",
    ]
    begun = time.perf_counter()
    try:
        subprocess.run(command, cwd=SCRATCH, check=True, timeout=LIMIT_SECONDS, stdout=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        print(f"mke2fs -d was ended after {LIMIT_SECONDS} s: it takes longer than the table says")
    return time.perf_counter() - begun + timed(["sync", "--file-system", "theirs.ext4"]).seconds


if __name__ == "__main__":
    main()
