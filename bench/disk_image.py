"""A compressed qcow2 cloud image of 2 GiB to an ext4: ours beside `qemu-img convert` of the whole disk.

Both sides end in a sync. Ours takes the root out of it, checks it and writes into it; the other leaves a raw
disk with partitions. Beside them stand virt-resize and guestfish, where they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, Run, allocated_kib, median_runs, print_runs, removed, timed
from tests.boot.debian import BOOTABLE, tarball
from tests.virtual_disk.making import BIOS, EFI, ROOT_X86_64, Part, converted, disk, fat

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
MIB = 1 << 20
DISK_MIB = 2048
USED_BYTES = 600 * MIB
"""What the root of the image holds."""
MOST_RATIO = 1.3


def main() -> None:
    """Print the table; exit with 1 if ours takes longer than it should."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    make_image()
    (SCRATCH / "vm.toml").write_text('[image.cloud.rootfs]\ndisk_image = "cloud.qcow2"\n')
    sides: dict[str, Callable[[], Run]] = {
        "bangerbuild apply": ours,
        "qemu-img convert of the disk + sync": whole,
        **by_hand(),
    }
    rows = median_runs(sides, ROUNDS)
    size = (SCRATCH / "cloud.qcow2").stat().st_size >> 20
    print_runs(f"qcow2 of {size} MiB, {DISK_MIB} MiB virtual, to an ext4, whole processes", rows)
    (image,) = (SCRATCH / "build").glob("images/cloud/*/rootfs.ext4")
    print(f"  bangerbuild's peak: {rows['bangerbuild apply'].peak_mib:.0f} MiB resident")
    print(f"  on disk: the image {allocated_kib(image) / 1024:.0f} MiB, the whole disk {raw_mib():.0f} MiB")
    shutil.rmtree(SCRATCH)
    ratio = rows["bangerbuild apply"].seconds / rows["qemu-img convert of the disk + sync"].seconds
    if ratio > MOST_RATIO:
        raise SystemExit(f"disk image: {ratio:.2f} times as long as qemu-img convert")


def make_image() -> None:
    """A Debian with its kernel, laid out as a cloud image, filled up to `USED_BYTES`."""
    (SCRATCH / "fill").mkdir()
    spare = max(USED_BYTES - tarball(BOOTABLE).stat().st_size, 0)
    words = bytes(range(256)) * 16
    with (SCRATCH / "fill/data").open("wb") as file:
        for number in range(spare // 8192):
            file.write(os.urandom(4096) + number.to_bytes(8, "big") + words[8:])
    source = f'tar = "{tarball(BOOTABLE)}"\nsize = "{DISK_MIB - 40}MiB"\n'
    fill = '[[image.m.file_sync]]\nhost = "fill"\nguest = "/var/cache/fill"\n'
    (SCRATCH / "make.toml").write_text(f"[image.m.rootfs]\n{source}{fill}")
    timed([*BANGERBUILD, "apply", "-q", "--store", "made", "make.toml"])
    (root,) = (SCRATCH / "made").glob("images/m/*/rootfs.ext4")
    esp = fat(SCRATCH / "esp", 16)
    parts = (
        Part(3, BIOS, number=14),
        Part(16, EFI, esp, number=15),
        Part(DISK_MIB - 40, ROOT_X86_64, root, number=1),
    )
    converted(disk(SCRATCH / "cloud.raw", parts, mib=DISK_MIB), SCRATCH / "cloud.qcow2", "qcow2", "-c")
    for name in ("cloud.raw", "made", "fill", "esp"):
        removed(SCRATCH / name)


def ours() -> Run:
    """Take the root out of it."""
    removed(SCRATCH / "build")
    return timed([*BANGERBUILD, "apply", "-q"])


def whole() -> Run:
    """Convert all of it."""
    removed(SCRATCH / "whole.raw")
    convert = "qemu-img convert -f qcow2 -O raw cloud.qcow2 whole.raw && sync whole.raw"
    return timed(["sh", "-c", convert])


def raw_mib() -> float:
    """What that takes on disk."""
    return allocated_kib(SCRATCH / "whole.raw") / 1024


def by_hand() -> dict[str, Callable[[], Run]]:
    """What else takes a root out of a disk, of what this host has."""
    found: dict[str, Callable[[], Run]] = {}
    if shutil.which("guestfish"):
        fish = "guestfish --ro -a cloud.qcow2 run : download /dev/sda1 root.ext4 && sync root.ext4"
        found["guestfish download + sync"] = lambda: timed(["sh", "-c", fish])
    else:
        print("guestfish (libguestfs-tools) is not here")
    if shutil.which("virt-resize"):
        found["virt-resize"] = resized
    else:
        print("virt-resize (guestfs-tools) is not here")
    return found


def resized() -> Run:
    """A larger disk, with the root grown to fill it."""
    larger = Path(SCRATCH, "larger.raw")
    removed(larger)
    subprocess.run(["truncate", "--size", f"{DISK_MIB + 1024}M", larger], check=True)
    resize = "virt-resize -q --expand /dev/sda1 cloud.qcow2 larger.raw && sync larger.raw"
    return timed(["sh", "-c", resize])


if __name__ == "__main__":
    main()
