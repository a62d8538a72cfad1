"""The kinds of files that hold a virtual disk, told by their first bytes; and what is refused of each.

QEMU opens further files where a file names them: a base, a parent, a file for the data. Whoever made the
file chose these names, and may have chosen `/etc/shadow`. So such files are refused by their headers, before
any program opens them, and the program is told the format and that there is no base.

Sources: `docs/interop/qcow2.txt` and `block/vmdk.c`, `block/vpc.c` of QEMU.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, printable_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER_BYTES = 64 << 10
"""How much of a file is looked at: past where a VMDK file has its description."""
_FLATTEN = "where all its files are: `qemu-img convert -O qcow2 FILE NEW`, then give NEW"
_CONVERT = "`qemu-img convert -f {} -O qcow2 FILE NEW`, then give NEW"
_SECTOR_BYTES = 512
_NO_PARENT = b"ffffffff"


@dataclass(frozen=True)
class Refusal:
    """Why a file is not read; `what` follows its name."""

    what: str
    hint: str | None = None


@dataclass(frozen=True)
class Container:
    """A kind of file that holds a virtual disk."""

    name: str
    """As people call it: `qcow2`."""
    driver: str
    """As QEMU calls it."""
    offset: int
    magic: bytes
    refusals: Callable[[bytes], Iterator[Refusal]]
    """What of a file that begins so is refused."""


def container_of(head: bytes) -> Container | None:
    """The kind of a file that begins with `head`; None: it holds a disk byte for byte, or none."""
    return next((one for one in CONTAINERS if head.startswith(one.magic, one.offset)), None)


def check(container: Container, head: bytes, written: str) -> None:
    """Refuse a file that names further files, or that can't be read.

    Args:
        container: what it is.
        head: its first `HEADER_BYTES`, or all of it.
        written: what messages call it.

    Raises:
        SourceError: it is refused.
    """
    for refusal in container.refusals(head.ljust(HEADER_BYTES, b"\0")):
        raise SourceError(f"'{written}' {refusal.what}", hint=refusal.hint)


def _nothing(_head: bytes) -> Iterator[Refusal]:
    """QEMU itself reads no parents of these."""
    return iter(())


def _of_qcow2(head: bytes) -> Iterator[Refusal]:
    version, base_at, base_length = struct.unpack_from(">IQI", head, 4)
    (encryption,) = struct.unpack_from(">I", head, 32)
    (features,) = struct.unpack_from(">Q", head, 72) if version > 2 else (0,)
    if version not in {2, 3}:
        yield Refusal(f"is a qcow2 disk image of version {version}; 2 and 3 are read", _FLATTEN)
    if base_at or base_length:
        name = printable_bytes(head[base_at : base_at + min(base_length, 1023)])
        yield Refusal(f"holds only what differs from its backing file, '{name}'", _FLATTEN)
    if features & 0b100:
        yield Refusal("is a qcow2 disk image that keeps its data in another file", _FLATTEN)
    if encryption:
        yield Refusal("is an encrypted qcow2 disk image", "decrypt it with `qemu-img convert`")
    if features & 0b10:
        yield Refusal("is a qcow2 disk image that is marked as corrupt", "qemu-img check -r all FILE")


def _of_vmdk(head: bytes) -> Iterator[Refusal]:
    (capacity,) = struct.unpack_from("<Q", head, 12)
    if not capacity:
        yield Refusal("is a VMDK disk image that describes further files", _FLATTEN)
    yield from _of_description(head)


def _of_description(head: bytes) -> Iterator[Refusal]:
    """QEMU looks for the parent at byte 512, wherever the header says that the description is."""
    (at,) = struct.unpack_from("<Q", head, 28)
    places = (_SECTOR_BYTES, at * _SECTOR_BYTES)
    for text in (head[place : place + 20 * _SECTOR_BYTES] for place in places):
        parent = re.search(rb"(?i)parentCID\s*=\s*([0-9a-f]+)", text)
        is_child = parent is not None and parent[1].lower() != _NO_PARENT
        if is_child or b"parentfilenamehint" in text.lower():
            yield Refusal("is a VMDK disk image that holds only what differs from its parent", _FLATTEN)


def _of_vmdk_text(_head: bytes) -> Iterator[Refusal]:
    yield Refusal("is a description of a VMDK disk image, whose data is in other files", _FLATTEN)


def _of_cowd(_head: bytes) -> Iterator[Refusal]:
    yield Refusal("is a VMDK disk image of ESX (COWD)", _FLATTEN)


def _of_vpc(head: bytes) -> Iterator[Refusal]:
    (kind,) = struct.unpack_from(">I", head, 60)
    if kind != 3:  # dynamic
        yield Refusal("is a VHD disk image that holds only what differs from its parent", _FLATTEN)


def _of_qed(_head: bytes) -> Iterator[Refusal]:
    yield Refusal("is a QED disk image", _CONVERT.format("qed"))


def _of_parallels(_head: bytes) -> Iterator[Refusal]:
    yield Refusal("is a Parallels disk image", _CONVERT.format("parallels"))


CONTAINERS = (
    Container("qcow2", "qcow2", 0, b"QFI\xfb", _of_qcow2),
    Container("VMDK", "vmdk", 0, b"KDMV", _of_vmdk),
    Container("VMDK", "vmdk", 0, b"COWD", _of_cowd),
    Container("VMDK", "vmdk", 0, b"# Disk DescriptorFile", _of_vmdk_text),
    Container("QED", "qed", 0, b"QED\0", _of_qed),
    Container("Parallels", "parallels", 0, b"WithoutFreeSpace", _of_parallels),
    Container("Parallels", "parallels", 0, b"WithouFreSpacExt", _of_parallels),
    Container("VHDX", "vhdx", 0, b"vhdxfile", _nothing),
    Container("VDI", "vdi", 64, b"\x7f\x10\xda\xbe", _nothing),
    Container("VHD", "vpc", 0, b"conectix", _of_vpc),
)
"""A VHD of fixed size begins with its first sector: it is read as a raw disk."""
