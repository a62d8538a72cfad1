"""Reading inside any disk that the tool makes, for `ls` and `cat`."""

from __future__ import annotations

import stat
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from bangerbuild import store
from bangerbuild.disk import formats, in_use
from bangerbuild.disk.formats.format import HEAD_BYTES
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BusyError, FilesystemError, GuestPathError, StoreError, UsageError
from bangerbuild.steps import disks
from bangerbuild.store import lost
from bangerbuild.tree import ALONE, TYPE_BITS, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.commands.disk_names import NamedDisk
    from bangerbuild.disk.formats.format import DiskFormat
    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.model import Record
    from bangerbuild.tree import DiskMount


@contextmanager
def opened_for(
    disk: NamedDisk, guest_path: str, base: Path | None, *, warn: Callable[[str], None]
) -> Iterator[OpenedDisk]:
    """A disk to read one path of: the guest's, or if nothing is there the disk's own.

    The arguments and errors are those of `opened_disk`.
    """
    is_guests = disk.place.mount_point != "/" and _has(disk, guest_path, base)
    place = disk.place if is_guests or disk.place.mount_point == "/" else ALONE
    with opened_disk(disk.path, base, place=place, warn=warn) as filesystem:
        yield filesystem


def _has(disk: NamedDisk, guest_path: str, base: Path | None) -> bool:
    """Whether a path of the guest is on the disk."""
    try:
        with opened_disk(disk.path, base, place=disk.place, warn=lambda _: None) as filesystem:
            return filesystem.stat(guest_path, follow=False) is not None
    except GuestPathError:
        return False


@contextmanager
def opened_disk(
    disk: Path, base: Path | None, *, place: DiskMount = ALONE, warn: Callable[[str], None]
) -> Iterator[OpenedDisk]:
    """The filesystem on a disk of any format, over its base where it stands on one, to be read.

    Args:
        disk: the file.
        base: the image under a root that stands on one; None: the one that the store's record names.
        place: where the guest mounts it; alone, paths are the disk's own.
        warn: is told that what is read may be old, as a journal can't be replayed, or wrong.

    Raises:
        BusyError: somebody may be writing to it.
        UsageError: a base is needed and not known, or given and not needed.
    """
    with ExitStack() as stack:
        try:
            _check_readable(disk)
            disk_format, stored = _stored(disk, base)
            _check_base(disk, stored.base)
            opening = disk_format.opened(stored, epoch=1, place=place, warn=warn)
            filesystem = stack.enter_context(opening)
        except OSError as err:
            raise FilesystemError(f"cannot open '{disk}': {err.strerror}", code=err.errno) from err
        if filesystem.has_errors:
            warn(f"'{disk}' is marked as having errors: what is read here may be wrong")
        yield filesystem


def _check_readable(disk: Path) -> None:
    if not disk.exists():
        raise UsageError(f"there is no disk '{disk}'", hint="`bangerbuild plan -v` lists the artifacts")
    if not (disk.is_file() or disk.is_block_device()):
        raise UsageError(f"'{disk}' is no disk: neither a regular file nor a block device")
    holder = in_use.writer(disk) if disk.is_file() else None
    if holder:
        raise BusyError(f"'{disk}' is in use by {holder}", hint="shut the VM down first")


def _stored(disk: Path, base: Path | None) -> tuple[DiskFormat, StoredDisk]:
    """What its content says that the disk is, and what it stands on."""
    with disk.open("rb") as file:
        disk_format = formats.recognised(file.read(HEAD_BYTES))
    if not disk_format.stands_on_base and base is None:
        disk_format = _recorded_format(disk) or disk_format
    if not disk_format.stands_on_base:
        if base is not None:
            raise UsageError(f"'{disk}' stands on no image and has no base", hint="leave --base out")
        return disk_format, StoredDisk(disk, str(disk))
    return disk_format, StoredDisk(disk, str(disk), Base(base, "") if base else _recorded_base(disk))


def _recorded_format(disk: Path) -> DiskFormat | None:
    """The format that the record of a root names: a guest may have lost what its disk is recognised by."""
    with suppress(StoreError):  # what looks like a raw disk needs no record
        if (found := _record(disk)) and "format" in found[1].facts:
            return disks.format_of(found[1].facts, disk.name)
    return None


def _check_base(disk: Path, base: Base | None) -> None:
    if base is not None and not base.path.exists():
        raise FilesystemError(
            f"'{disk}' stands on the image '{base.path}', which is not there",
            hint="put that file back, or have `bangerbuild apply` make it again, if it is declared as it was",
        )


def _recorded_base(disk: Path) -> Base:
    """The image that the record of a root names."""
    if found := _record(disk):
        top, record = found
        name = str(record.facts["base"])
        return Base(top / name, name)
    if lost.has_artifacts(store_of := (disk.parent.resolve() / disk.name).parents[2]):
        raise lost.lost_error(store_of)
    raise UsageError(
        f"no record says which base '{disk}' stands on", hint=f"bangerbuild cat --base IMAGE {disk} PATH"
    )


def _record(disk: Path) -> tuple[Path, Record] | None:
    """The record of a root that stands on an image or was made from one, and the store that has it."""
    path = disk.parent.resolve() / disk.name
    for top in path.parents:
        if not (top / "state.db").exists():
            continue
        artifact = str(path.relative_to(top))
        opened = store.read(top)
        opened.check_records()
        for record in opened.records.values():
            if artifact in record.artifacts and "base" in record.facts:
                return top, record
    return None


def content(filesystem: OpenedDisk, path: str) -> Iterator[bytes]:
    """A file's content in pieces, symlinks followed inside the guest.

    Raises:
        GuestPathError: it is not there, or is no regular file.
    """
    pieces = filesystem.read_chunks(path)
    if pieces is None:
        raise _not_there(filesystem, path)
    yield from pieces


def listing(filesystem: OpenedDisk, path: str, *, in_full: bool) -> Iterator[str]:
    """The names in a directory, or the one name of something else; a line for each.

    Raises:
        GuestPathError: it is not there.
    """
    found = filesystem.stat(path) or filesystem.stat(path, follow=False)
    if found is None:
        raise _not_there(filesystem, path)
    if found.type is not EntryType.DIRECTORY:
        yield _line(path, filesystem.stat(path, follow=False) or found) if in_full else path
        return
    if not in_full:
        yield from filesystem.listdir(path) or ()
        return
    for name, there in filesystem.stats(path) or ():
        yield _line(name, there) if there else name


def _not_there(filesystem: OpenedDisk, path: str) -> GuestPathError:
    return GuestPathError(
        f"'{path}' is not there in '{filesystem.name}'",
        hint="`bangerbuild ls DISK /` lists the top directory",
    )


def _line(name: str, found: Stat) -> str:
    """As `ls -ln` has it, times in UTC."""
    mode = stat.filemode(TYPE_BITS[found.type] | found.mode)
    is_device = found.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
    size = f"{found.device[0]}, {found.device[1]}" if is_device else str(found.size_bytes)
    changed = time.strftime("%Y-%m-%d %H:%M", time.gmtime(found.mtime_ns // 10**9))
    arrow = f" -> {found.target}" if found.type is EntryType.SYMLINK else ""
    return f"{mode} {found.links:>3} {found.uid:>5} {found.gid:>5} {size:>10} {changed} {name}{arrow}"
