"""A squashfs of a Debian to ext4: ours beside `unsquashfs` + `mke2fs -d`, as root. Both end in a sync.

With the size given, as the other side has it, ours should take no more than two thirds of the time.
"""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, Run, median_runs, print_runs, removed, timed
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 5
LEAST_RATIO = 1.5
COMPRESSIONS = ("zstd", "gzip", "xz")


def main(compressions: tuple[str, ...] = COMPRESSIONS) -> None:
    """Print a table of seconds and ratios for each compression; exit with 1 if ours is not fast enough."""
    if os.geteuid() != 0:
        raise SystemExit("the other side needs root: unsquashfs keeps owners only for root")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    (SCRATCH / "tree").mkdir(parents=True)
    source = tarball(ROOTFS)
    timed(["tar", "--numeric-owner", "--xattrs", "-xpf", source, "-C", "tree"])
    ratios: dict[str, float] = {}
    for compression in compressions:
        image = SCRATCH / f"{compression}.squashfs"
        timed(["mksquashfs", "tree", image, "-comp", compression, "-no-progress", "-quiet"])
        ratios[compression] = compare(image)
        image.unlink()
    shutil.rmtree(SCRATCH)
    if slow := [name for name, ratio in ratios.items() if ratio < LEAST_RATIO]:
        raise SystemExit(f"squashfs: less than {LEAST_RATIO} times as fast as by hand: {', '.join(slow)}")


def compare(image: Path) -> float:
    """Print the table of one image; how many times as long the other side takes."""
    rows = median_runs(
        {
            "bangerbuild apply": partial(ours, image, 'size = "1GiB"\n'),
            "bangerbuild apply, its size told by itself": partial(ours, image, ""),
            "unsquashfs + mke2fs -d + sync": partial(theirs, image),
        },
        ROUNDS,
    )
    print_runs(f"{image.stat().st_size >> 20} MiB {image.name} to ext4, whole processes", rows)
    print(f"  bangerbuild's peak: {rows['bangerbuild apply'].peak_mib:.0f} MiB resident")
    return rows["unsquashfs + mke2fs -d + sync"].seconds / rows["bangerbuild apply"].seconds


def ours(image: Path, size: str) -> Run:
    """An apply."""
    (SCRATCH / "vm.toml").write_text(f'[image.debian.rootfs]\nsquashfs = "{image}"\n{size}')
    removed(SCRATCH / "build")
    return timed([*BANGERBUILD, "apply", "-q"])


def theirs(image: Path) -> Run:
    """By way of a directory."""
    removed(SCRATCH / "unpacked")
    removed(SCRATCH / "theirs.ext4")
    unpacked = timed(["unsquashfs", "-q", "-n", "-d", "unpacked", image])
    made = timed(["mke2fs", "-q", "-t", "ext4", "-d", "unpacked", "theirs.ext4", "1G"])
    return unpacked + made + timed(["sync", "--file-system", "theirs.ext4"])


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or COMPRESSIONS)
