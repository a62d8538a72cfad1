"""A thousand VMs: built, changed, planned; beside sparse copies patched by debugfs and through loop mounts.

Image and seed are there. Each VM gets a root on a 1 GiB Debian image with all default patches and a declared
file (ten files together), a file_sync of 20 files, a 1 GiB work disk from a 64 MiB seed, keys, and what
starts it. The others make a sparse copy of the image and of the seed at 1 GiB, and write the same number of
files: with a debugfs process for each, or through a loop mount. They do it for 20 VMs, and the table scales
that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from statistics import median
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, Run, medians, print_table, timed
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 3
VMS = 1000
MANY = 10_000
OTHERS = 20
FILES = 10
SYNCED = 20
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0123456789abcdefghijklmnopqrstuvwxyzABCDEF admin@host"


def main() -> None:
    """Print the tables."""
    if os.geteuid() != 0:
        raise SystemExit("a loop mount needs root")
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    write_sources()
    built: list[Run] = []
    for count in (VMS, MANY):
        (SCRATCH / str(count)).mkdir()
        write_manifest(count, dns=1)
        run(count, "apply", "-q", "--target", "image.base")
    image, seed = (next(SCRATCH.glob(f"{VMS}/build/images/base/*/{name}")) for name in ("rootfs.ext4", "*@*"))
    sides = {
        f"bangerbuild, {VMS} VMs": lambda: build(VMS, built),
        "sparse copy + one debugfs per file, scaled": lambda: others(debugfs, image, seed),
        "sparse copy + loop mount, scaled": lambda: others(loop_mount, image, seed),
    }
    print_table(f"{VMS} VMs from nothing but the images, whole processes", medians(sides, ROUNDS))
    print(f"  bangerbuild's peak: {max(run.peak_mib for run in built):.0f} MiB resident")
    changed(VMS)
    scaled()
    shutil.rmtree(SCRATCH)


def write_sources() -> None:
    """A seed, a tree to sync."""
    (SCRATCH / "seed").mkdir()
    (SCRATCH / "seed/.profile").write_text("umask 077\n")
    for index in range(SYNCED):
        path = SCRATCH / f"site/d{index % 4}/f{index}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000 + 300 * index))


def write_manifest(count: int, dns: int) -> None:
    """So many VMs on one image, each with a DNS server of that number."""
    head = f"""\
[image.base]
rootfs = {{ tar = "{tarball(ROOTFS)}", size = "1GiB" }}
work_seed = {{ directory = "../seed", size = "64MiB" }}
[defaults]
work.size = "1GiB"
ssh_authorized_keys = ["{KEY}"]
"""
    vms = (
        f"""\
[vm.v{i}]
image = "base"
network = {{ address = "10.9.{i // 200}.{i % 200 + 1}/8", dns = ["10.0.0.{dns}"] }}
[[vm.v{i}.file]]
guest = "/etc/motd"
content = "this is v{i}"
[[vm.v{i}.file_sync]]
host = "../site"
guest = "/srv/site"
"""
        for i in range(count)
    )
    (SCRATCH / str(count) / "vm.toml").write_text(head + "".join(vms))


def run(count: int, *arguments: str) -> Run:
    """One command on the manifest of so many VMs."""
    return timed([*BANGERBUILD, *arguments], cwd=SCRATCH / str(count))


def build(count: int, runs: list[Run]) -> float:
    """Make all disks anew over the images that are there."""
    shutil.rmtree(SCRATCH / str(count) / "build/vms", ignore_errors=True)
    subprocess.run(["sync", "--file-system", SCRATCH], check=True)
    runs.append(run(count, "apply", "-q"))
    return runs[-1].seconds


def changed(count: int) -> None:
    """One DNS server is another now, for all VMs."""
    taken = []
    for dns in range(2, 2 + ROUNDS):
        write_manifest(count, dns)
        subprocess.run(["sync", "--file-system", SCRATCH], check=True)
        taken.append(run(count, "apply", "-q").seconds)
    print(f"\nOne DNS server changed, {count} VMs: {median(taken):.2f} s")


def scaled() -> None:
    """What ten times as many VMs take, as a multiple of ten times what a tenth takes: 1.0 x is linear."""
    print(f"\n{MANY} VMs, beside ten times what {VMS} take")
    runs: dict[str, Callable[[int], Run]] = {
        "apply": build_once,
        "plan": lambda count: run(count, "plan"),
        "nothing to do": lambda count: run(count, "apply"),
    }
    for name, side in runs.items():
        few, many = ([side(count) for _ in range(ROUNDS)] for count in (VMS, MANY))
        seconds = median(run.seconds for run in many)
        ratio = seconds / median(run.seconds for run in few) / (MANY / VMS)
        peak_mib = max(run.peak_mib for run in many)
        print(f"  {name:<44} {seconds:10.2f} s   {ratio:8.2f} x   {peak_mib:.0f} MiB resident")


def build_once(count: int) -> Run:
    """Make all disks anew, once."""
    runs: list[Run] = []
    build(count, runs)
    return runs[0]


def others(patched: Callable[[Path, Path, int], float], image: Path, seed: Path) -> float:
    """Seconds that copies for all VMs would take, by those for a few, which all end in one sync."""
    seconds = sum(patched(image, seed, index) for index in range(OTHERS))
    seconds += timed(["sync", "--file-system", SCRATCH]).seconds
    for path in SCRATCH.glob("copy-*.ext4"):
        path.unlink()
    return seconds * VMS / OTHERS


def copies(image: Path, seed: Path, index: int) -> tuple[str, str, float]:
    """Sparse copies of the image and the seed, without sharing blocks, and the seconds they took."""
    root, work = f"copy-root-{index}.ext4", f"copy-work-{index}.ext4"
    command = ["cp", "--sparse=always", "--reflink=never", "--no-preserve=mode"]
    return root, work, timed([*command, image, root]).seconds + timed([*command, seed, work]).seconds


def debugfs(image: Path, seed: Path, index: int) -> float:
    """Copy and patch with a process for each file."""
    (SCRATCH / "content").write_text("patched\n")
    root, work, seconds = copies(image, seed, index)
    for disk, count in ((root, FILES + SYNCED), (work, 1)):
        for number in range(count):
            request = f"write content patched{number}"
            seconds += timed(["debugfs", "-w", "-R", request, disk]).seconds
    return seconds


def loop_mount(image: Path, seed: Path, index: int) -> float:
    """Copy and patch through the kernel."""
    (SCRATCH / "mnt").mkdir(exist_ok=True)
    root, work, seconds = copies(image, seed, index)
    files = f"for i in $(seq {FILES}); do echo patched > mnt/etc/patched$i; done && cp -a site mnt/srv/"
    on_root = f"mount -o loop {root} mnt && {files} && umount mnt"
    on_work = f"mount -o loop {work} mnt && echo patched > mnt/patched && umount mnt"
    return seconds + timed(["sh", "-c", f"{on_root} && {on_work}"]).seconds


if __name__ == "__main__":
    main()
