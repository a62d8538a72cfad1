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
        "sparse copy + one debugfs per file, scaled": lambda: each(lambda: debugfs(image, seed)) * VMS,
        "sparse copy + loop mount, scaled": lambda: each(lambda: loop_mount(image, seed)) * VMS,
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
    print(f"\nOne DNS server changed, {count} VMs: {sorted(taken)[ROUNDS // 2]:.2f} s")


def scaled() -> None:
    """What ten times as many VMs take, as a multiple of a tenth of it: 1.0 x is linear."""
    print(f"\n{MANY} VMs, beside ten times what {VMS} take")
    runs: dict[str, Callable[[int], Run]] = {
        "apply": build_once,
        "plan": lambda count: run(count, "plan"),
        "nothing to do": lambda count: run(count, "apply"),
    }
    for name, side in runs.items():
        few, many = side(VMS), side(MANY)
        ratio = many.seconds / few.seconds / (MANY / VMS)
        print(f"  {name:<44} {many.seconds:10.2f} s   {ratio:8.2f} x   {many.peak_mib:.0f} MiB resident")


def build_once(count: int) -> Run:
    """Make all disks anew, once."""
    runs: list[Run] = []
    build(count, runs)
    return runs[0]


def each(side: Callable[[], float]) -> float:
    """Seconds for one of several in a row."""
    return sum(side() for _ in range(OTHERS)) / OTHERS


def copies(image: Path, seed: Path) -> float:
    """Sparse copies of the image and the seed, without sharing blocks."""
    command = ["cp", "--sparse=always", "--reflink=never", "--no-preserve=mode"]
    return timed([*command, image, "root.ext4"]).seconds + timed([*command, seed, "work.ext4"]).seconds


def debugfs(image: Path, seed: Path) -> float:
    """Copy and patch with a process for each file."""
    (SCRATCH / "content").write_text("patched\n")
    seconds = copies(image, seed)
    for disk, count in (("root.ext4", FILES + SYNCED), ("work.ext4", 1)):
        for index in range(count):
            request = f"write content patched{index}"
            seconds += timed(["debugfs", "-w", "-R", request, disk]).seconds
    return seconds + ended()


def loop_mount(image: Path, seed: Path) -> float:
    """Copy and patch through the kernel."""
    (SCRATCH / "mnt").mkdir(exist_ok=True)
    files = f"for i in $(seq {FILES}); do echo patched > mnt/etc/patched$i; done && cp -a site mnt/srv/"
    root = f"mount -o loop root.ext4 mnt && {files} && umount mnt"
    work = "mount -o loop work.ext4 mnt && echo patched > mnt/patched && umount mnt"
    seconds = copies(image, seed)
    return seconds + timed(["sh", "-c", f"{root} && {work}"]).seconds + ended()


def ended() -> float:
    """What it takes to have both copies on the disk; they go, outside of the time."""
    seconds = timed(["sync", "root.ext4", "work.ext4"]).seconds
    for name in ("root.ext4", "work.ext4"):
        (SCRATCH / name).unlink()
    return seconds


if __name__ == "__main__":
    main()
