"""A /boot on a partition of its own, as Ubuntu and Fedora lay out their images: found, and put into the root.

It is the one that the root's fstab mounts on /boot, else the one of that type, else the one ext4 that holds
a kernel at its top, else the EFI system partition. That is a FAT, which is taken only if it holds a kernel.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import checking, making
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, GuestPathError, SourceError
from bangerbuild.tree import EntryType
from bangerbuild.virtual_disk import fat
from bangerbuild.virtual_disk.choice import TAGS
from bangerbuild.virtual_disk.content import part_of
from bangerbuild.virtual_disk.partition_types import BOOT, EFI

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    others = [one for one in contents if (one.is_ext or one.is_fat) and one is not root]
    if not others or not _has_empty_boot(target):
        return None
    _refuse_errors(target, "the root filesystem")
    with RawFile(target) as blocks, Filesystem(blocks) as filesystem:
        source = _fstab_source(filesystem)
    key, _, value = source.partition("=")
    if key in TAGS:
        named = [one for one in others if TAGS[key](one).lower() == value.strip("\"'").lower()]
        return named[0] if len(named) == 1 else None
    typed = [one for one in others if one.partition.type == BOOT]
    fitting = typed or [one for one in others if one.is_ext and _holds_kernel(one, disk)]
    fitting = fitting or [one for one in others if one.partition.type in EFI]
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


def _has_empty_boot(target: Path) -> bool:
    """Whether a root has a /boot in which there is nothing; True where it can't be read."""
    with RawFile(target) as blocks:
        filesystem = Filesystem(blocks, allow_unclean=True)
        try:
            found = filesystem.stat(DIRECTORY, follow=False)
            is_there = found is not None and found.type is EntryType.DIRECTORY
            return is_there and set(filesystem.listdir(DIRECTORY) or ()) <= _EMPTY
        except FilesystemError:
            return True
        finally:
            filesystem.abandon()


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
        boot: the one, an ext4, a private copy.
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
            _write(source.walk(), target, epoch)


def merge_fat(boot: Path, target: Path, where: str, epoch: int) -> None:
    """The same of a FAT that holds a kernel; nothing, if it holds none.

    Raises:
        SourceError: it can't be read, or says that it holds more than it can.
        ToolError: mtools are missing.
    """
    files = fat.files_of(boot, where)
    if not files.hold_kernel:
        return
    with tempfile.TemporaryDirectory(dir=boot.parent) as name:
        directory = Path(name, "files")
        files.copy(directory)
        needed = sum(map(_needed, fat.walk(directory, where, epoch)))
        _make_room(target, needed, epoch)
        _write(fat.walk(directory, where, epoch), target, epoch)


def _write(entries: Iterable[Entry], target: Path, epoch: int) -> None:
    with (
        RawFile(target, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=epoch) as root,
    ):
        for entry in entries:
            _put(root, entry)


def _refuse_errors(path: Path, what: str) -> None:
    if errors := checking.errors_in(path):
        raise FilesystemError(f"{what} has errors", details="\n".join(errors))


def _needed_bytes(source: Filesystem, where: str) -> int:
    needed = sum(map(_needed, source.walk()))
    if needed > 2 * source.blocks.size_bytes:
        raise SourceError(f"the files of {where} are larger than it is itself")
    return needed


def _needed(entry: Entry) -> int:
    return entry.size_bytes + _BYTES_FOR_ENTRY


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
