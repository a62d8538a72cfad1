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
    """Print a table for a 1 GiB Debian image, and what full images of 1 and of 64 GiB cost."""
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
    full_images()
    shutil.rmtree(SCRATCH)


def write_manifest(name: str, rootfs: str, *, root_format: str = "snapshot", count: int = VMS) -> None:
    """One image and many VMs on it."""
    vms = (
        f'[vm.v{i}]\nimage = "base"\nroot.format = "{root_format}"\n'
        f'network = {{ address = "10.0.{i // 200 + 1}.{i % 200}/16", dns = ["10.0.0.1"] }}\n'
        for i in range(count)
    )
    (SCRATCH / name).write_text(f"[image.base.rootfs]\n{rootfs}\n" + "".join(vms))


def step_seconds(store: str) -> float:
    """The work of one VM: what its root and its patch took; the median from the second VM on.

    The first one's time has in it what is done once for all.
    """
    document = fresh_apply(store)
    seconds: dict[str, float] = defaultdict(float)
    for action in document["actions"]:
        if action["id"].endswith((".root", ".root.patch")):
            seconds[action["id"].split(".")[1]] += action["seconds"]
    assert len(seconds) == VMS
    return statistics.median(list(seconds.values())[1:])


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


def full_images() -> None:
    """What an overlay costs on an image of 64 GiB of which every bitmap is in use, beside one of 1 GiB."""
    sides = {f"on {gib} GiB": full_image(gib) for gib in (1, 64)}
    print_table("One patched root on a full image", medians(sides, ROUNDS), unit="ms", scale=1000)
    for gib in (1, 64):
        report_stores(f"full{gib}")


def full_image(gib: int) -> Callable[[], float]:
    """Make an image of which all is in use but a twentieth; what measures an overlay on it."""
    name = f"full{gib}"
    image = SCRATCH / f"{name}.ext4"
    features = "^metadata_csum,^uninit_bg"
    make = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", features, "-E", "lazy_itable_init=1"]
    timed([*make, image, f"{gib}G"])
    blocks = gib * GIB // 4096 * 95 // 100 - 16384  # beside the file, tables and a journal want room
    timed(["debugfs", "-w", "-R", f"write {os.devnull} fill", image])
    timed(["debugfs", "-w", "-R", f"fallocate fill 0 {blocks}", image])
    write_manifest(f"{name}.toml", f'ext4 = "{image.name}"\n')
    timed([*BANGERBUILD, "apply", "-q", "--target", "image.base", "--store", name, f"{name}.toml"])
    return lambda: step_seconds(name)


if __name__ == "__main__":
    main()
