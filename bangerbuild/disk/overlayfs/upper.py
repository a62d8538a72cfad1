"""The disk that holds an upper tree: an ext4 with directories `upper` and `work`, and a mark at its start.

The mark lies before the superblock, in bytes that ext4 leaves alone. A script can tell such a disk
by it. It holds the name of the lower disk:

    "bangerbuild overlay upper" newline, name newline, zeros up to byte 1024
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.disk.overlayfs import marks
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from bangerbuild.disk import tools
    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.formats.values import DiskJob
    from bangerbuild.disk.sparse_disk import SparseDisk

MARK = "bangerbuild overlay upper"
MARK_BYTES = 1024
DEFAULT_BYTES = 1 << 30
_LARGE_BYTES = 4 << 30
_GROWTH = 64


def is_marked(head: bytes) -> bool:
    """Whether a file that begins so is an upper disk."""
    return head.startswith(f"{MARK}\n".encode())


def lower_name(head: bytes) -> str | None:
    """The name of the lower disk; None if it has no mark."""
    if not is_marked(head):
        return None
    name = head[len(MARK) + 1 : MARK_BYTES].partition(b"\n")[0]
    return name.decode(errors="replace")


def empty(size_bytes: int, name: str, lower: Filesystem, job: DiskJob) -> SparseDisk:
    """An upper disk without changes, which holds next to nothing: its journal is small.

    Args:
        size_bytes: a multiple of 4096.
        name: of the lower disk; with the size all that decides the bytes.
        lower: that disk; the two joined have its root's mode, owner, times and attributes.
        job: whose it is.

    Raises:
        ToolError: it is too small.
    """
    from bangerbuild.disk import making
    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.sparse_disk import SparseDisk

    with making.empty(_geometry(size_bytes), f"{MARK} {name} {size_bytes}", job.epoch) as made:
        disk = SparseDisk.of_file(made, size_bytes, f"the upper disk of '{name}'")
    disk.write(0, _mark(name))
    with Filesystem(disk, writable=True, now=job.epoch) as filesystem:
        _make_directories(filesystem, lower)
    return disk


def _geometry(size_bytes: int) -> tools.Geometry:
    """With a journal, and room for growing, that take a few blocks instead of the usual half MiB and more."""
    from bangerbuild.disk import tools

    journal_mib = 16 if size_bytes >= _LARGE_BYTES else 4
    return tools.Geometry(size_bytes, journal_mib=journal_mib, most_bytes=_GROWTH * size_bytes)


def _mark(name: str) -> bytes:
    mark = f"{MARK}\n{name}\n".encode()
    if len(mark) > MARK_BYTES:
        raise FilesystemError(f"the name '{name}' is too long for the mark of an upper disk")
    return mark.ljust(MARK_BYTES, b"\0")


def _make_directories(disk: Filesystem, lower: Filesystem) -> None:
    from bangerbuild.disk.overlayfs.nodes import UPPER_NAME, WORK_NAME

    top = lower.stat("/")
    if top is None:  # pragma: no cover - every filesystem has a root
        raise FilesystemError(f"'{lower.name}' has no root directory")
    disk.make_directory(f"/{os.fsdecode(WORK_NAME)}")
    disk.make_directory(
        f"/{os.fsdecode(UPPER_NAME)}",
        mode=top.mode,
        uid=top.uid,
        gid=top.gid,
        mtime_ns=top.mtime_ns,
        xattrs=marks.seen(lower.get_xattrs("/")),
    )
