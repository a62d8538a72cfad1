"""Reading inside any disk that the tool makes, for `ls` and `cat`."""

from __future__ import annotations

import stat
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bangerbuild import store
from bangerbuild.disk import in_use, interrupted, snapshot
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import BusyError, FilesystemError, GuestPathError, UsageError
from bangerbuild.tree import FORMATS, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Stat


@contextmanager
def opened(disk: Path, base: Path | None, *, warn: Callable[[str], None]) -> Iterator[Filesystem]:
    """The filesystem on a raw disk, or on a snapshot over its base, to be read.

    Args:
        disk: the file.
        base: the image under a snapshot; None: the one that the store's record names.
        warn: is told that what is read may be old, as a journal can't be replayed, or wrong.

    Raises:
        BusyError: somebody may be writing to it.
        UsageError: a base is needed and not known, or given and not needed.
    """
    with ExitStack() as stack:
        try:
            _check_readable(disk)
            blocks = _blocks(disk, base, stack)
        except OSError as err:
            raise FilesystemError(f"cannot open '{disk}': {err.strerror}", code=err.errno) from err
        blocks = _recovered(blocks, warn)
        filesystem = stack.enter_context(Filesystem(blocks, allow_unclean=True))
        if filesystem.superblock.has_errors:
            warn(f"'{disk}' is marked as having errors: what is read here may be wrong")
        yield filesystem


def _recovered(blocks: Blocks, warn: Callable[[str], None]) -> Blocks:
    """The disk as it will be once its journal is replayed; where nobody knows, as it stands."""
    try:
        return through_journal(blocks)
    except FilesystemError as err:
        warn(f"{err.brief}: what is read here may be old")
        return blocks


def _check_readable(disk: Path) -> None:
    if not disk.exists():
        raise UsageError(f"there is no disk '{disk}'", hint="`bangerbuild plan -v` lists the artifacts")
    if not (disk.is_file() or disk.is_block_device()):
        raise UsageError(f"'{disk}' is no disk: neither a regular file nor a block device")
    holder = in_use.writer(disk) if disk.is_file() else None
    if holder:
        raise BusyError(f"'{disk}' is in use by {holder}", hint="shut the VM down first")


def _blocks(disk: Path, base: Path | None, stack: ExitStack) -> Blocks:
    """The disk as it will be once what was interrupted is mended; nothing is touched."""
    blocks = stack.enter_context(interrupted.open_recovered(disk, str(disk)))
    if _is_store(disk):
        top, name = (base, "") if base else _recorded_base(disk)
        under = stack.enter_context(RawFile(top / name))
        return SnapshotStore(under, blocks, base_name=name)
    if base is not None:
        raise UsageError(f"'{disk}' is no snapshot and has no base", hint="leave --base out")
    return blocks


def _is_store(disk: Path) -> bool:
    with disk.open("rb") as file:
        return snapshot.has_magic(file.read(snapshot.HEADER_BYTES))


def _recorded_base(disk: Path) -> tuple[Path, str]:
    """The image that the record of a store's overlay names: where the store is, and its name in there."""
    path = disk.parent.resolve() / disk.name
    for top in path.parents:
        if not (top / "state.db").exists():
            continue
        artifact = str(path.relative_to(top))
        for record in store.read(top).records.values():
            if artifact in record.artifacts and "base" in record.facts:
                return top, str(record.facts["base"])
    raise UsageError(
        f"no record says which base '{disk}' stands on", hint=f"bangerbuild cat --base IMAGE {disk} PATH"
    )


def content(filesystem: Filesystem, path: str) -> Iterator[bytes]:
    """A file's content in pieces, symlinks followed inside the guest.

    Raises:
        GuestPathError: it is not there, or is no regular file.
    """
    pieces = filesystem.read_chunks(path)
    if pieces is None:
        raise _not_there(filesystem, path)
    yield from pieces


def listing(filesystem: Filesystem, path: str, *, in_full: bool) -> Iterator[str]:
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


def _not_there(filesystem: Filesystem, path: str) -> GuestPathError:
    return GuestPathError(
        f"'{path}' is not there in '{filesystem.name}'",
        hint="`bangerbuild ls DISK /` lists the top directory",
    )


def _line(name: str, found: Stat) -> str:
    """As `ls -ln` has it, times in UTC."""
    mode = stat.filemode(FORMATS[found.type] | found.mode)
    is_device = found.type in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
    size = f"{found.device[0]}, {found.device[1]}" if is_device else str(found.size_bytes)
    changed = time.strftime("%Y-%m-%d %H:%M", time.gmtime(found.mtime_ns // 10**9))
    arrow = f" -> {found.target}" if found.type is EntryType.SYMLINK else ""
    return f"{mode} {found.links:>3} {found.uid:>5} {found.gid:>5} {size:>10} {changed} {name}{arrow}"
