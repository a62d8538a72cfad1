"""Open a file that holds a virtual disk: told by its first bytes, refused or read as its kind asks for."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.signatures import HEAD_BYTES
from bangerbuild.virtual_disk import containers
from bangerbuild.virtual_disk.content import content_of
from bangerbuild.virtual_disk.qemu_disk import QemuDisk
from bangerbuild.virtual_disk.raw_disk import RawDisk
from bangerbuild.virtual_disk.table import EDGE_BYTES, partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.virtual_disk.content import Content
    from bangerbuild.virtual_disk.disks import VirtualDisk

_CD_AT, _CD_MAGIC = 0x8001, b"CD001"


def is_cd(head: bytes) -> bool:
    """Whether a file that begins so is a CD image; many have a partition table too."""
    return head.startswith(_CD_MAGIC, _CD_AT)


@contextmanager
def opened(
    path: Path, written: str, directory: Path | None = None, *, is_ours: bool = False
) -> Iterator[tuple[VirtualDisk, Path]]:
    """The disk in a file, which is not compressed, and a private directory for pieces of it.

    Args:
        path: the file.
        written: what messages call it.
        directory: where the private directory is made; None: where the host has temporary files.
        is_ours: whether the file is removed later, and may shrink while it is copied.

    Raises:
        SourceError: it is refused, damaged, or no disk.
        ToolError: qemu-img is missing.
    """
    with path.open("rb") as file:
        head = file.read(containers.HEADER_BYTES)
    container = containers.container_of(head)
    with tempfile.TemporaryDirectory(prefix="disk-", dir=directory) as name:
        room = Path(name)
        if container is not None:
            containers.check(container, head, written)
            yield QemuDisk(path, container, written, room), room
        elif is_cd(head):
            raise SourceError(
                f"'{written}' is a CD image", hint="give the disk that an installation from it leaves"
            )
        else:
            with RawDisk(path, written, is_ours=is_ours) as disk:
                yield disk, room


def contents(disk: VirtualDisk, room: Path) -> tuple[Content, ...]:
    """What is in each partition of a disk.

    Raises:
        SourceError: its table is damaged.
        FilesystemError: it can't be read.
        ToolError: partx is missing.
    """
    disk.prepare([(0, EDGE_BYTES), (disk.size_bytes - EDGE_BYTES, EDGE_BYTES)])
    found = partitions(disk, room)
    disk.prepare([(one.start, min(one.size_bytes, HEAD_BYTES)) for one in found])
    return tuple(content_of(partition, disk) for partition in found)
