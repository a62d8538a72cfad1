"""Roots of each thin format beside snapshot roots: one VM, a thousand, and what each takes on disk.

A run is measured in processor time, what its steps took of a VM by the clock.

Beside one VM stand what people do by hand: a qcow2 file over the image made by qemu-img, patched with
virt-customize or guestfish, or through qemu-nbd and a mount. What is not here is said, and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, allocated_kib, medians, print_table, timed
from bench.overlay import VMS, step_seconds, write_manifest
from tests.boot.debian import ROOTFS, tarball

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 3
MANY = 1000
FORMATS = ("snapshot", "qcow2", "overlay")
"""The first is what the others are compared with."""
MOST_RATIO = 1.3
MOST_KIB = 512
FILES = 10
NBD = "/dev/nbd0"


def main() -> None:
    """Print the tables; exit with 1 if a format takes more than it should."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    (SCRATCH / "content").write_text("patched\n")
    rootfs = f'tar = "{tarball(ROOTFS)}"\nsize = "1GiB"\noverlay_init = true\n'
    for name in FORMATS:
        for store, count in ((name, VMS), (f"{name}-1", 1), (f"{name}-{MANY}", MANY)):
            write_manifest(f"{store}.toml", rootfs, root_format=name, count=count)
            timed([*BANGERBUILD, "apply", "-q", "--target", "image.base", "--store", store, f"{store}.toml"])
    image = next(Path(SCRATCH, FORMATS[0]).glob("images/base/*/rootfs.ext4"))
    one = medians({name: partial(step_seconds, name) for name in FORMATS}, ROUNDS)
    alone = medians({name: partial(build, f"{name}-1") for name in FORMATS}, ROUNDS)
    by_hand = medians(dict(others(image)), 1)
    print_table("One patched root on a 1 GiB Debian image", one | by_hand, unit="ms", scale=1000)
    kib = {name: largest_kib(name) for name in FORMATS}
    print_table("What one takes on disk", kib, unit="KiB")
    print_table("One VM, a whole process's processor time", alone)
    many = medians({name: partial(build, f"{name}-{MANY}") for name in FORMATS}, ROUNDS)
    print_table(f"{MANY} VMs, the same", many)
    shutil.rmtree(SCRATCH)
    missed = [*missing(one, "one"), *missing(alone, "one alone"), *missing(many, f"{MANY}")]
    missed += [f"{name} takes {kib[name]:.0f} KiB on disk" for name in FORMATS if kib[name] > MOST_KIB]
    if missed:
        raise SystemExit("; ".join(missed))


def missing(rows: dict[str, float], what: str) -> Iterator[str]:
    """The formats that take too long, in words."""
    for name in FORMATS[1:]:
        if (ratio := rows[name] / rows[FORMATS[0]]) > MOST_RATIO:
            yield f"{name}, {what}: {ratio:.2f} times as long as {FORMATS[0]}"


def largest_kib(store: str) -> float:
    """The size of the largest root."""
    return max(map(allocated_kib, Path(SCRATCH, store).glob("vms/*/root.*")))


def build(store: str) -> float:
    """Make all roots anew over the image that is there; the processor time, in seconds."""
    shutil.rmtree(SCRATCH / store / "vms", ignore_errors=True)
    subprocess.run(["sync", "--file-system", SCRATCH], check=True)
    return timed([*BANGERBUILD, "apply", "-q", "--store", store, f"{store}.toml"]).cpu_seconds


def others(image: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """What is done by hand, of what this host has."""
    uploads = [word for number in range(FILES) for word in ("--upload", f"content:/etc/patched{number}")]
    if shutil.which("virt-customize"):
        customize = ["virt-customize", "-q", "--no-network", "-a", "by-hand.qcow2", *uploads]
        yield "qemu-img create -b + virt-customize", lambda: created(image) + timed(customize).seconds
    else:
        print("virt-customize (libguestfs-tools) is not here")
    if shutil.which("guestfish"):
        copies = [
            word for number in range(FILES) for word in (":", "upload", "content", f"/etc/patched{number}")
        ]
        fish = ["guestfish", "-a", "by-hand.qcow2", "run", ":", "mount", "/dev/sda", "/", *copies]
        yield "qemu-img create -b + guestfish", lambda: created(image) + timed(fish).seconds
    else:
        print("guestfish (libguestfs-tools) is not here")
    if shutil.which("qemu-nbd") and Path(NBD).is_block_device() and os.geteuid() == 0:
        yield "qemu-img create -b + qemu-nbd + mount", lambda: created(image) + timed(nbd()).seconds
    else:
        print(f"qemu-nbd can't be used: it wants root and the kernel's nbd module, which makes {NBD}")


def created(image: Path) -> float:
    """Seconds for an empty file over the image."""
    (SCRATCH / "by-hand.qcow2").unlink(missing_ok=True)
    command = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        str(image.resolve()),
        "by-hand.qcow2",
    ]
    return timed(command).seconds


def nbd() -> list[str]:
    """Patch through the kernel."""
    write = (
        f"mkdir -p mnt && mount {NBD} mnt && for i in $(seq {FILES}); do cp content mnt/etc/patched$i; done"
    )
    return ["sh", "-c", f"qemu-nbd -c {NBD} by-hand.qcow2 && {write} && umount mnt && qemu-nbd -d {NBD}"]


if __name__ == "__main__":
    main()
