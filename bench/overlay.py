"""A VM's patched root over a shared image: ours beside copies of the image patched by other means.

Ours makes an exception store with all default patches (about ten files). The others make a sparse copy of the
image and write ten files into it, with a debugfs process for each or through a loop mount.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.measure import BANGERBUILD, SCRATCH, allocated_kib, medians, print_table, timed
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3
VMS = 100
OTHERS = 4
FILES = 10
GIB = 1 << 30


def main() -> None:
    """Print a table for a 1 GiB Debian image, and what a full 64 GiB image costs."""
    if os.geteuid() != 0:
        raise SystemExit("a loop mount needs root")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    write_manifest("debian.toml", f'tar = "{tarball(ROOTFS)}"\nsize = "1GiB"\n')
    timed([*BANGERBUILD, "apply", "-q", "--target", "image.base", "--store", "debian", "debian.toml"])
    image = next(Path(SCRATCH, "debian").glob("images/base/*/rootfs.ext4"))
    sides = {
        "bangerbuild (its steps' own seconds)": lambda: step_seconds("debian"),
        "sparse copy + one debugfs per file": lambda: each(lambda: debugfs(image)),
        "sparse copy + loop mount": lambda: each(lambda: loop_mount(image)),
    }
    rows = medians(sides, ROUNDS)
    print_table("One patched root on a 1 GiB Debian image", rows, unit="ms", scale=1000)
    report_stores("debian")
    whole_process("debian")
    full_image()
    shutil.rmtree(SCRATCH)


def write_manifest(name: str, rootfs: str) -> None:
    """One image and many VMs on it."""
    vms = (
        f'[vm.v{i}]\nimage = "base"\n'
        f'network = {{ address = "10.0.{i // 200 + 1}.{i % 200}/16", dns = ["10.0.0.1"] }}\n'
        for i in range(VMS)
    )
    (SCRATCH / name).write_text(f"[image.base.rootfs]\n{rootfs}\n" + "".join(vms))


def step_seconds(store: str) -> float:
    """The work of one VM: what its root and its patch took; the median of all VMs."""
    document = fresh_apply(store)
    seconds: dict[str, float] = defaultdict(float)
    for action in document["actions"]:
        if action["kind"] in {"root-overlay", "root-patch"}:
            seconds[action["id"].split(".")[1]] += action["seconds"]
    assert len(seconds) == VMS
    return statistics.median(seconds.values())


def fresh_apply(store: str) -> dict[str, Any]:
    """Make all roots anew over the image that is there."""
    shutil.rmtree(SCRATCH / store / "vms", ignore_errors=True)
    command = [*BANGERBUILD, "apply", "-j1", "--json", "-q", "--store", store, f"{store}.toml"]
    done = subprocess.run(command, cwd=SCRATCH, check=True, capture_output=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def whole_process(store: str) -> None:
    """What a VM costs with planning, publishing and syncing."""
    shutil.rmtree(SCRATCH / store / "vms", ignore_errors=True)
    run = timed([*BANGERBUILD, "apply", "-q", "--store", store, f"{store}.toml"])
    print(f"  {VMS} VMs, whole process: {run.seconds:.2f} s, {run.peak_mib:.0f} MiB resident")


def report_stores(store: str) -> None:
    """The size of the largest store."""
    largest = max(map(allocated_kib, Path(SCRATCH, store).glob("vms/*/root.cow")))
    print(f"  allocated by one root.cow: {largest:.0f} KiB at the most")


def each(side: Callable[[], float]) -> float:
    """Seconds for one of several in a row."""
    return sum(side() for _ in range(OTHERS)) / OTHERS


def sparse_copy(image: Path) -> float:
    """A copy of the image, without sharing blocks."""
    return timed(
        ["cp", "--sparse=always", "--reflink=never", "--no-preserve=mode", image, "copy.ext4"]
    ).seconds


def debugfs(image: Path) -> float:
    """Copy and patch with a process for each file."""
    (SCRATCH / "content").write_text("patched\n")
    seconds = sparse_copy(image)
    return seconds + sum(
        timed(["debugfs", "-w", "-R", f"write content /etc/patched{i}", "copy.ext4"]).seconds
        for i in range(FILES)
    )


def loop_mount(image: Path) -> float:
    """Copy and patch through the kernel."""
    (SCRATCH / "mnt").mkdir(exist_ok=True)
    write = f"for i in $(seq {FILES}); do echo patched > mnt/etc/patched$i; done"
    script = f"mount -o loop copy.ext4 mnt && {write} && umount mnt"
    return sparse_copy(image) + timed(["sh", "-c", script]).seconds


def full_image() -> None:
    """What an overlay costs on a 64 GiB image of which every bitmap is in use."""
    full = SCRATCH / "full.ext4"
    features = "^metadata_csum,^uninit_bg"
    timed(
        ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", features, "-E", "lazy_itable_init=1", full, "64G"]
    )
    blocks = 64 * GIB // 4096 * 95 // 100
    timed(["debugfs", "-w", "-R", f"write {os.devnull} fill", full])
    timed(["debugfs", "-w", "-R", f"fallocate fill 0 {blocks}", full])
    write_manifest("full.toml", 'ext4 = "full.ext4"\n')
    timed([*BANGERBUILD, "apply", "-q", "--target", "image.base", "--store", "full", "full.toml"])
    rows = {"bangerbuild": step_seconds("full")}
    print_table("One patched root on a full 64 GiB image", rows, unit="ms", scale=1000)
    report_stores("full")


if __name__ == "__main__":
    main()
