"""A /boot on a partition of its own, as Ubuntu and Fedora lay out their images: found, and put into the root.

It is the one that the root's fstab mounts on /boot, else the one of that type, else the one ext4 that holds
a kernel at its top.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bangerbuild.disk import checking, making
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, GuestPathError, SourceError
from bangerbuild.tree import EntryType
from bangerbuild.virtual_disk.choice import TAGS
from bangerbuild.virtual_disk.content import part_of
from bangerbuild.virtual_disk.partition_types import BOOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.tree import Entry
    from bangerbuild.virtual_disk.content import Content

DIRECTORY = "/boot"
_FSTAB = "/etc/fstab"
_FSTAB_BYTES = 1 << 20
_EMPTY = frozenset({"lost+found", "efi", "loader"})
"""What a /boot holds that something is mounted on."""
_KERNELS = re.compile("vmlinu[xz]")
_SPARE_BYTES = 16 << 20
_BYTES_FOR_ENTRY = 8192


def find(contents: Sequence[Content], root: Content, disk: Blocks, target: Path) -> Content | None:
    """The partition that is the /boot of a root; None: it has its own.

    Args:
        contents: of all partitions.
        root: which of them is the root.
        disk: that they are on.
        target: a copy of that.
    """
    others = [one for one in contents if one.is_ext and one is not root]
    if not others:
        return None
    _refuse_errors(target, "the root filesystem")
    with RawFile(target) as blocks, Filesystem(blocks) as filesystem:
        if not _is_mount_point(filesystem):
            return None
        source = _fstab_source(filesystem)
    key, _, value = source.partition("=")
    if key in TAGS:
        named = [one for one in others if TAGS[key](one).lower() == value.strip("\"'").lower()]
        return named[0] if len(named) == 1 else None
    typed = [one for one in others if one.partition.type == BOOT]
    fitting = typed or [one for one in others if _holds_kernel(one, disk)]
    return fitting[0] if len(fitting) == 1 else None


def _holds_kernel(content: Content, disk: Blocks) -> bool:
    try:
        filesystem = Filesystem(part_of(content, disk), allow_unclean=True)
    except FilesystemError:
        return False
    try:
        return any(map(_KERNELS.match, filesystem.listdir("/") or ()))
    except FilesystemError:
        return False
    finally:
        filesystem.abandon()


def _is_mount_point(filesystem: Filesystem) -> bool:
    found = filesystem.stat(DIRECTORY, follow=False)
    if found is None or found.type is not EntryType.DIRECTORY:
        return False
    return set(filesystem.listdir(DIRECTORY) or ()) <= _EMPTY


def _fstab_source(filesystem: Filesystem) -> str:
    """What the root mounts on /boot; empty: nothing that is told."""
    try:
        text = filesystem.read(_FSTAB, most_bytes=_FSTAB_BYTES) or b""
    except GuestPathError:
        return ""
    lines = (line.split() for line in text.decode(errors="replace").splitlines())
    return next((line[0] for line in lines if len(line) > 1 and line[1].rstrip("/") == DIRECTORY), "")


def merge(boot: Path, target: Path, where: str, epoch: int) -> None:
    """Copy all files of a boot filesystem into the /boot of a root, which grows if it has no room.

    Args:
        boot: the one, a private copy.
        target: the other, likewise.
        where: what messages call the first.
        epoch: the time of what is written.

    Raises:
        FilesystemError: one of them has errors.
        SourceError: the boot filesystem says that it holds more than it can.
    """
    _refuse_errors(boot, where)
    with RawFile(boot) as blocks:
        blocks.name = where
        with Filesystem(blocks) as source:
            _make_room(target, _needed_bytes(source, where), epoch)
            with (
                RawFile(target, writable=True, durable=False) as root_blocks,
                Filesystem(root_blocks, writable=True, now=epoch) as root,
            ):
                for entry in source.walk():
                    _put(root, entry)


def _refuse_errors(path: Path, what: str) -> None:
    if errors := checking.errors_in(path):
        raise FilesystemError(f"{what} has errors", details="\n".join(errors))


def _needed_bytes(source: Filesystem, where: str) -> int:
    needed = sum(entry.size_bytes + _BYTES_FOR_ENTRY for entry in source.walk())
    if needed > 2 * source.blocks.size_bytes:
        raise SourceError(f"the files of {where} are larger than it is itself")
    return needed


def _make_room(target: Path, needed_bytes: int, epoch: int) -> None:
    with RawFile(target) as blocks:
        found = read_superblock(blocks, writable=False)
    lacking = needed_bytes + _SPARE_BYTES - found.free_blocks * found.block_bytes
    if lacking > 0:
        grown = -(-(found.size_bytes + lacking) // _SPARE_BYTES) * _SPARE_BYTES
        making.grow(target, grown, epoch)


def _put(root: Filesystem, entry: Entry) -> None:
    """Write one entry; devices and the like have no place in a /boot."""
    if not entry.path or entry.path.split("/")[0] == "lost+found":
        return
    path = f"{DIRECTORY}/{entry.path}"
    mode, uid, gid, mtime_ns, xattrs = entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs
    match entry.type:
        case EntryType.DIRECTORY:
            root.make_directory(path, mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=xattrs)
        case EntryType.FILE if entry.content is not None:
            size = entry.size_bytes
            root.write_file(
                path,
                entry.content,
                size_bytes=size,
                mode=mode,
                uid=uid,
                gid=gid,
                mtime_ns=mtime_ns,
                xattrs=xattrs,
            )
        case EntryType.SYMLINK:
            root.make_symlink(path, entry.target, uid=entry.uid, gid=entry.gid, mtime_ns=entry.mtime_ns)
        case EntryType.HARD_LINK:
            root.link(path, f"{DIRECTORY}/{entry.target}")
        case _:
            pass
