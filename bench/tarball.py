"""A Debian tarball to ext4: ours beside `tar x` + `mke2fs -d`, and `mke2fs -d` of the tarball where it can.

All sides end in a sync. Beside them the floor: the same bytes copied and synced, and the digest of them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, medians, print_table, removed, timed
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 5
TAKES_TARBALLS = (1, 47, 1)


def main() -> None:
    """Print a table of seconds and ratios, and the most memory that our side took."""
    if os.geteuid() != 0:
        raise SystemExit("the other side needs root: tar x keeps owners only for root")
    source = tarball(ROOTFS)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    (SCRATCH / "vm.toml").write_text(f'[image.debian.rootfs]\ntar = "{source}"\nsize = "1GiB"\n')
    peaks: list[float] = []

    def ours() -> float:
        removed(SCRATCH / "build")
        run = timed([*BANGERBUILD, "apply", "-q"])
        peaks.append(run.peak_mib)
        return run.seconds

    sides: dict[str, Callable[[], float]] = {
        "bangerbuild apply": ours,
        "tar x + mke2fs -d + sync": lambda: unpacked(source),
    }
    if takes_tarballs(source):
        sides["mke2fs -d of the tarball + sync"] = lambda: populated(source)
    else:
        print("mke2fs -d of a tarball is not here: it takes e2fsprogs 1.47.1 with libarchive")
    sides |= {
        "floor: cp of the tarball + sync": lambda: copied(source),
        "floor: its sha256": lambda: hashed(source),
    }
    rows = medians(sides, ROUNDS)
    print_table(f"{source.stat().st_size >> 20} MiB Debian tarball to a 1 GiB ext4, whole processes", rows)
    print(f"  bangerbuild's peak: {max(peaks):.0f} MiB resident")
    shutil.rmtree(SCRATCH)


def unpacked(source: Path) -> float:
    """Seconds by way of a directory."""
    removed(SCRATCH / "tree")
    (SCRATCH / "tree").mkdir()
    unpack: list[str | Path] = ["tar", "--numeric-owner", "--xattrs", "--acls", "-xpf", source, "-C", "tree"]
    return timed(unpack).seconds + populated(SCRATCH / "tree")


def populated(source: Path) -> float:
    """Seconds of mke2fs -d and a sync."""
    removed(SCRATCH / "theirs.ext4")
    made = timed(["mke2fs", "-q", "-t", "ext4", "-d", source, "theirs.ext4", "1G"])
    return made.seconds + timed(["sync", "--file-system", "theirs.ext4"]).seconds


def copied(source: Path) -> float:
    """Seconds for as many bytes."""
    removed(SCRATCH / "copy")
    copy: list[str | Path] = ["cp", "--reflink=never", source, "copy"]
    return timed(copy).seconds + timed(["sync", "--file-system", "copy"]).seconds


def hashed(source: Path) -> float:
    """Seconds of their digest, in this process."""
    begun = time.perf_counter()
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - begun


def takes_tarballs(source: Path) -> bool:
    """Whether mke2fs is new enough, and was built with libarchive."""
    said = subprocess.run(["mke2fs", "-V"], check=True, capture_output=True, text=True).stderr
    found = re.search(r"mke2fs (\d+)\.(\d+)(?:\.(\d+))?", said)
    if found is None or tuple(int(part or 0) for part in found.groups()) < TAKES_TARBALLS:
        return False
    trial = ["mke2fs", "-q", "-t", "ext4", "-d", str(source), str(SCRATCH / "trial.ext4"), "1G"]
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    main()
