"""Disks as distributions make theirs: tables by sfdisk, filesystems by mke2fs, formats by qemu-img."""

from __future__ import annotations

import os
import struct
import subprocess
import uuid
import zlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from bangerbuild.disk.clone import data_extents
from bangerbuild.formats.limits import Budget, UnpackLimits
from tests.disk.ext4_tools import make_ext4
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MIB = 1 << 20
ROOT_X86_64 = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
ROOT_ARM64 = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
BIOS = "21686148-6449-6E6F-744E-656564454649"
EFI = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
XBOOTLDR = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
ROOT: Mapping[str, str] = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/fstab": "PARTUUID=6d6f7265-01 / ext4 rw,discard 0 1\nUUID=FE00-1234 /boot/efi vfat defaults 0 0\n",
    "usr/lib/systemd/systemd": "\x7fELF",
    "boot/vmlinuz-6.1.0-1-cloud-amd64": "kernel",
}
"""As much of a root as is looked at."""
DATA: Mapping[str, str] = {"srv/data": "data\n"}
BOOT: Mapping[str, str] = {"vmlinuz-6.8.0-31-generic": "kernel", "grub/grub.cfg": "menu\n"}


@dataclass(frozen=True)
class Part:
    """A partition to be made."""

    mib: int
    type: str = LINUX
    content: Path | None = None
    """What is written into it."""
    name: str = ""
    uuid: str = ""
    number: int | None = None
    """None: one after the other."""


def filesystem(
    path: Path, files: Mapping[str, str], *options: str, size: str = "24M", label: str = ""
) -> Path:
    """An ext4 that holds these files, all root's."""
    tree = path.with_suffix(".tree")
    tree.mkdir()
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    labelled = ("-L", label) if label else ()
    return make_ext4(path, "-d", str(tree), *labelled, *options, size=size)


def fat(
    path: Path, size_mib: int = 8, label: str = "UEFI", files: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """An EFI system partition that holds these files."""
    path.write_bytes(b"")
    os.truncate(path, size_mib * MIB)
    subprocess.run([need("mkfs.vfat", "dosfstools"), "-n", label, path], check=True, capture_output=True)
    tree = path.with_suffix(".tree")
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    if files:
        copy = [need("mcopy", "mtools"), "-s", "-i", str(path), *map(str, tree.iterdir()), "::"]
        subprocess.run(copy, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.defpath})
    return path


def disk(path: Path, parts: Sequence[Part], *, label: str = "gpt", mib: int = 64) -> Path:
    """A raw disk, its table made by sfdisk, with 512-byte sectors."""
    path.write_bytes(b"")
    os.truncate(path, mib * MIB)
    lines = [f"label: {label}", *map(_line, parts)]
    command = [need("sfdisk", "fdisk"), "--quiet", "--no-reread", "--no-tell-kernel", str(path)]
    done = subprocess.run(command, input="\n".join(lines) + "\n", text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = [number for number in starts(path) if number]
    for number, part in zip(numbers, _in_order(parts), strict=True):
        if part.content is not None:
            put(path, part.content, starts(path)[number])
    return path


def _line(part: Part) -> str:
    words = [f"size={part.mib}MiB", f"type={part.type}"]
    words += [f'name="{part.name}"'] if part.name else []
    words += [f"uuid={part.uuid}"] if part.uuid else []
    return f"{f'{part.number}: ' if part.number else ''}{', '.join(words)}"


def _in_order(parts: Sequence[Part]) -> list[Part]:
    """By number, as they are listed."""
    taken = [part.number or at for at, part in enumerate(parts, 1)]
    return [part for _, part in sorted(zip(taken, parts, strict=True), key=lambda pair: pair[0])]


def starts(path: Path) -> dict[int, int]:
    """Where each partition begins, in bytes, as sfdisk says."""
    dump = [need("sfdisk", "fdisk"), "--dump", str(path)]
    said = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    found = {}
    for line in said.splitlines():
        if " : start=" in line:
            name, _, rest = line.partition(" : start=")
            found[int(name.removeprefix(str(path)).lstrip("p"))] = int(rest.split(",")[0]) * 512
    return dict(sorted(found.items()))


def put(path: Path, content: Path, at: int) -> None:
    """Write a file into a disk; holes are left out."""
    with path.open("r+b") as file, content.open("rb") as source:
        for start, length in data_extents(source.fileno()):
            os.pwrite(file.fileno(), os.pread(source.fileno(), length, start), at + start)


def gpt_of_4096(path: Path, contents: Sequence[tuple[str, str, Path]], mib: int = 64) -> Path:
    """A GPT disk with 4096-byte sectors, which sfdisk can't make of a file: (type, name, content)."""
    path.write_bytes(b"")
    os.truncate(path, mib * MIB)
    last = mib * MIB // 4096 - 1
    entries, at = b"", 256
    for kind, name, content in contents:
        sectors = content.stat().st_size // 4096
        ids = uuid.UUID(kind).bytes_le + uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes_le
        entries += (
            ids + struct.pack("<QQQ", at, at + sectors - 1, 0) + name.encode("utf-16-le").ljust(72, b"\0")
        )
        put(path, content, at * 4096)
        at += sectors
    entries = entries.ljust(128 * 128, b"\0")
    mbr = (
        bytes(446)
        + struct.pack("<8BII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, last).ljust(64, b"\0")
        + b"\x55\xaa"
    )
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), mbr, 0)
        for own, other, table in ((1, last, 2), (last, 1, last - 4)):
            os.pwrite(file.fileno(), _header(own, other, table, entries, last), own * 4096)
            os.pwrite(file.fileno(), entries, table * 4096)
    return path


def _header(own: int, other: int, table: int, entries: bytes, last: int) -> bytes:
    fields = (b"EFI PART", 0x10000, 92, 0, 0, own, other, 6, last - 5, uuid.NAMESPACE_URL.bytes_le, table)
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields, 128, 128, zlib.crc32(entries))
    return header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]


def converted(source: Path, target: Path, form: str, *options: str) -> Path:
    """The same disk in a format of QEMU's."""
    command = [
        need("qemu-img", "qemu-utils"),
        "convert",
        *options,
        "-f",
        "raw",
        "-O",
        form,
        str(source),
        str(target),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def budget() -> Budget:
    """Room enough."""
    return Budget(UnpackLimits(), 1, "disk")
