"""A 16 GiB work disk from a 64 MiB seed: ours beside cp, qemu-img and mkfs.ext4.

Ours is what the step of a work disk takes by itself: growing the seed comes before it, once for all disks of
a size. The others are processes, so one that does nothing is shown too. Run as root and with xfsprogs, it is
measured on XFS as well, where a clone shares its blocks.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, allocated_kib, medians, print_table, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = 5
DISKS = 20
SIZE = "16GiB"
SEEDS = {"64 MiB seed with 48 MiB in it": 48, "64 MiB seed with 1 MiB in it": 1}
MIB = 1 << 20
XFS_BYTES = 4 << 30


def main() -> None:
    """Print a table for a full and for a nearly empty seed, on this filesystem and on one with reflink."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    for title, content_mib in SEEDS.items():
        measure(SCRATCH / "work", f"One {SIZE} work disk, {title}", content_mib)
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        print("\nXFS is left out: it takes root, and mkfs.xfs (apt-get install xfsprogs)")
    else:
        with mounted_xfs() as directory:
            measure(directory, f"The same on XFS, {next(iter(SEEDS))}", next(iter(SEEDS.values())))
    shutil.rmtree(SCRATCH)


def measure(directory: Path, title: str, content_mib: int) -> None:
    """Build a seed and its disks, and print a table."""
    directory.mkdir()
    write_manifest(directory, content_mib)
    apply(directory, "--target", "image.base")
    grown = next(directory.glob(f"build/images/base/*/work-seed@{SIZE}.ext4"))
    print_table(title, medians(sides(directory, grown), ROUNDS), unit="ms", scale=1000)
    report_allocation(directory, grown)
    shutil.rmtree(directory)


@contextmanager
def mounted_xfs() -> Iterator[Path]:
    """An XFS in a sparse file, mounted where the work is done."""
    image = SCRATCH / "xfs.img"
    with image.open("wb") as file:
        file.truncate(XFS_BYTES)
    timed(["mkfs.xfs", "-q", "-m", "reflink=1", image])
    (SCRATCH / "xfs").mkdir()
    timed(["mount", "-o", "loop", image, SCRATCH / "xfs"])
    try:
        yield SCRATCH / "xfs" / "work"
    finally:
        timed(["umount", SCRATCH / "xfs"])


def write_manifest(directory: Path, content_mib: int) -> None:
    """One image with a seed, and many VMs that want a disk of it."""
    (directory / "tree").mkdir()
    (directory / "seed").mkdir()
    content = random.Random(0).randbytes(content_mib * MIB)  # noqa: S311  # no secret
    (directory / "seed" / "content").write_bytes(content)
    vms = (f'[vm.v{number}]\nimage = "base"\nwork.size = "{SIZE}"\n' for number in range(DISKS))
    (directory / "vm.toml").write_text(
        '[image.base]\nrootfs = { directory = "tree", size = "16MiB" }\n'
        'work_seed = { directory = "seed", size = "64MiB" }\n' + "".join(vms)
    )


def apply(directory: Path, *arguments: str) -> dict[str, list[dict[str, float]]]:
    """Build; what `--json` says."""
    command = [*BANGERBUILD, "apply", "-q", "-j1", "--json", *arguments]
    done = subprocess.run(
        command, cwd=directory, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    document: dict[str, list[dict[str, float]]] = json.loads(done.stdout)
    return document


def sides(directory: Path, grown: Path) -> dict[str, Callable[[], float]]:
    """What makes one disk, and how long it took; qemu-img is left out, with a word, where it is missing."""
    copy = ["cp", "--sparse=always", "--reflink=auto", "--no-preserve=mode"]
    seed = next(directory.glob("build/images/base/*/work-seed.ext4"))
    grow = "truncate -s 16G disk && e2fsck -fp disk && resize2fs disk 2>&1"
    made: dict[str, list[list[str | Path]]] = {
        "cp of the grown seed": [[*copy, grown, "disk"]],
        "cp of the seed, e2fsck, resize2fs": [[*copy, seed, "disk"], ["sh", "-c", grow]],
        "mkfs.ext4 of 16 GiB, without the seed": [["mkfs.ext4", "-q", "-F", "disk", "16G"]],
        "qemu-img convert of the grown seed": [
            ["qemu-img", "convert", "-f", "raw", "-O", "raw", grown, "disk"]
        ],
        "qemu-img create -b, which needs the seed": [
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", grown, "disk"]
        ],
        "a process that does nothing": [["true"]],
    }
    if shutil.which("qemu-img") is None:
        print("\nqemu-img is left out: apt-get install qemu-utils")
        made = {name: commands for name, commands in made.items() if "qemu-img" not in name}
    ours: dict[str, Callable[[], float]] = {
        "bangerbuild (the step's own seconds)": partial(step_seconds, directory)
    }
    return ours | {name: partial(processes, directory, commands) for name, commands in made.items()}


def step_seconds(directory: Path) -> float:
    """The median of all work disks of one run."""
    shutil.rmtree(directory / "build" / "vms", ignore_errors=True)
    actions = apply(directory)["actions"]
    seconds = [action["seconds"] for action in actions if str(action["id"]).endswith(".work")]
    assert len(seconds) == DISKS
    return statistics.median(seconds)


def processes(directory: Path, commands: list[list[str | Path]]) -> float:
    """Seconds of the processes that make `disk`."""
    (directory / "disk").unlink(missing_ok=True)
    return sum(timed(command, directory).seconds for command in commands)


def report_allocation(directory: Path, grown: Path) -> None:
    """What a disk takes beside its seed. Blocks that are shared count for each that shares them."""
    seed = next(directory.glob("build/images/base/*/work-seed.ext4"))
    disk = max(directory.glob("build/vms/*/work.ext4"), key=allocated_kib)
    for name, path in (("seed", seed), ("grown seed", grown), ("work disk", disk)):
        print(f"  allocated by the {name}: {allocated_kib(path):.0f} KiB")
    print(f"  work disk / seed: {allocated_kib(disk) / allocated_kib(seed):.2f}")


if __name__ == "__main__":
    main()
