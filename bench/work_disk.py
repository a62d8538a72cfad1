"""A 16 GiB work disk from a 64 MiB seed: ours beside cp, qemu-img and mkfs.ext4.

The seed is full: 48 MiB of it are files. Ours is what a step of a work disk takes once the seed is grown, which
is done once for all disks of a size, the work of its clone and nothing else; the others are whole processes,
so the part of each that starts a program is shown too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from bench.measure import BANGERBUILD, SCRATCH, allocated_kib, medians, print_table, timed

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
DISKS = 20
SIZE = "16GiB"
SEEDS = {"64 MiB seed with 48 MiB in it": 48, "64 MiB seed with 1 MiB in it": 1}
MIB = 1 << 20


def main() -> None:
    """Print a table for a full and for a nearly empty seed, and one for what others make from nothing."""
    for title, content_mib in SEEDS.items():
        shutil.rmtree(SCRATCH, ignore_errors=True)
        SCRATCH.mkdir(parents=True)
        write_manifest(content_mib)
        apply("--target", "image.base")
        grown = next(Path(SCRATCH, "build").glob(f"images/base/*/work-seed@{SIZE}.ext4"))
        rows = medians(sides(grown), ROUNDS)
        print_table(f"One {SIZE} work disk, {title}", rows, unit="ms", scale=1000)
        report_steps()
        report_allocation(grown)
    shutil.rmtree(SCRATCH)


def write_manifest(content_mib: int) -> None:
    """One image with a seed, and many VMs that want a disk of it."""
    (SCRATCH / "tree").mkdir()
    (SCRATCH / "seed").mkdir()
    (SCRATCH / "seed" / "content").write_bytes(random.Random(0).randbytes(content_mib * MIB))  # noqa: S311  # no secret
    vms = "".join(f'[vm.v{number}]\nimage = "base"\nwork.size = "{SIZE}"\n' for number in range(DISKS))
    (SCRATCH / "vm.toml").write_text(
        '[image.base]\nrootfs = { directory = "tree", size = "16MiB" }\n'
        f'work_seed = {{ directory = "seed", size = "64MiB" }}\n{vms}'
    )


def apply(*arguments: str) -> dict[str, list[dict[str, float]]]:
    """Build; what `--json` says."""
    command = [*BANGERBUILD, "apply", "-q", "-j1", "--json", *arguments]
    done = subprocess.run(command, cwd=SCRATCH, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    document: dict[str, list[dict[str, float]]] = json.loads(done.stdout)
    return document


def sides(grown: Path) -> dict[str, Callable[[], float]]:
    """What makes one disk, and how long it took. Those that are not installed are left out, with a word."""
    copy = ["cp", "--sparse=always", "--reflink=auto", "--no-preserve=mode", grown, "disk"]
    made: dict[str, Callable[[], float]] = {
        "bangerbuild (the step's own seconds)": step_seconds,
        "cp --sparse=always of the grown seed": partial(fresh, copy),
        "cp --sparse=always, e2fsck, resize2fs": copied_and_grown,
        "mkfs.ext4 of 16 GiB, without the seed": partial(
            fresh, ["mkfs.ext4", "-q", "-F", "disk", SIZE.removesuffix("iB")]
        ),
    }
    if shutil.which("qemu-img") is None:
        print("qemu-img is left out: apt-get install qemu-utils")
        return made
    backed = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", grown, "disk"]
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "raw", grown, "disk"]
    return made | {
        "qemu-img create -b (no disk of its own)": partial(fresh, backed),
        "qemu-img convert to raw": partial(fresh, convert),
        "a process that does nothing": partial(fresh, ["true"]),
    }


def step_seconds() -> float:
    """The median of all work disks of one run."""
    shutil.rmtree(SCRATCH / "build" / "vms", ignore_errors=True)
    seconds = [action["seconds"] for action in apply()["actions"] if str(action["id"]).endswith(".work")]
    assert len(seconds) == DISKS
    return statistics.median(seconds)


def fresh(command: list[str | Path]) -> float:
    """Seconds of one process that makes `disk`."""
    (SCRATCH / "disk").unlink(missing_ok=True)
    return timed(command).seconds


def copied_and_grown() -> float:
    """What a script does without a grown seed to share."""
    seed = next(Path(SCRATCH, "build").glob("images/base/*/work-seed.ext4"))
    seconds = fresh(["cp", "--sparse=always", "--no-preserve=mode", seed, "disk"])
    os.truncate(SCRATCH / "disk", 16 << 30)
    return seconds + sum(
        timed(command).seconds for command in (["e2fsck", "-fp", "disk"], ["resize2fs", "disk"])
    )


def report_steps() -> None:
    """Whether the filesystem shares blocks, without which a clone takes as long as its bytes."""
    (SCRATCH / "probe").write_bytes(b"x")
    shares = clone.clone(SCRATCH / "probe", SCRATCH / "probe.clone")
    print(f"  blocks are {'shared (reflink)' if shares else 'copied: no reflink on this filesystem'}")


def report_allocation(grown: Path) -> None:
    """What a disk takes beside its seed."""
    seed = next(Path(SCRATCH, "build").glob("images/base/*/work-seed.ext4"))
    disk = max(Path(SCRATCH, "build").glob("vms/*/work.ext4"), key=allocated_kib)
    for name, path in (("seed", seed), ("grown seed", grown), ("work disk", disk)):
        print(f"  allocated by the {name}: {allocated_kib(path):.0f} KiB")
    print(f"  work disk / seed: {allocated_kib(disk) / allocated_kib(seed):.2f}")


if __name__ == "__main__":
    main()
