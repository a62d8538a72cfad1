"""A Debian tarball to ext4: ours beside `tar x` + `mke2fs -d` as root. Both sides end in a sync."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, medians, print_table, timed
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 5


def main() -> None:
    """Print a table of seconds and ratios, and the most memory that our side took."""
    source = tarball(ROOTFS)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    (SCRATCH / "vm.toml").write_text(f'[image.debian.rootfs]\ntar = "{source}"\nsize = "1GiB"\n')
    peaks: list[float] = []

    def ours() -> float:
        shutil.rmtree(SCRATCH / "build", ignore_errors=True)
        run = timed([*BANGERBUILD, "apply", "-q"])
        peaks.append(run.peak_mib)
        return run.seconds

    def tar_and_mke2fs() -> float:
        shutil.rmtree(SCRATCH / "tree", ignore_errors=True)
        (SCRATCH / "theirs.ext4").unlink(missing_ok=True)
        (SCRATCH / "tree").mkdir()
        steps: tuple[list[str | Path], ...] = (
            ["tar", "--numeric-owner", "--xattrs", "--acls", "-xpf", source, "-C", "tree"],
            ["mke2fs", "-q", "-t", "ext4", "-d", "tree", "theirs.ext4", "1G"],
            ["sync", "--file-system", "theirs.ext4"],
        )
        return sum(timed(step).seconds for step in steps)

    if os.geteuid() != 0:
        raise SystemExit("the other side needs root: tar x keeps owners only for root")
    rows = medians({"bangerbuild apply": ours, "tar x + mke2fs -d + sync": tar_and_mke2fs}, ROUNDS)
    print_table(f"{source.stat().st_size >> 20} MiB Debian tarball to a 1 GiB ext4, whole processes", rows)
    print(f"  bangerbuild's peak: {max(peaks):.0f} MiB resident")
    shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
