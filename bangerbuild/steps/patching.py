"""How guest changes and host trees get onto a disk; all patch steps share it."""

from __future__ import annotations

import fnmatch
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from bangerbuild.errors import FilesystemError
from bangerbuild.formats.directory import file_with_stat, walk_with_stat
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
from bangerbuild.steps import ledger
from bangerbuild.tree import EntryType, GuestDirectory, GuestFile, GuestRemoval, GuestSymlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from bangerbuild.declared import FileSync
    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.guest.defaults import DeclaredFiles
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import Entry, GuestChange


MOST_REMOVED = 1000
"""libext2fs looks for each name from the directory's start."""


@dataclass(frozen=True)
class Synced:
    """One entry of a host tree and where it goes."""

    guest: str
    entry: Entry
    link_target: str = ""
    """The guest path that a hard link is a further name of."""


def rules(sync: FileSync) -> TreeRules:
    """What a file_sync takes of the host's tree."""
    return TreeRules(file_mode=sync.mode, exclude=sync.exclude, xattrs=False, specials=False)


def host_tree(sync: FileSync, warn: Callable[[str], None]) -> Iterator[Entry]:
    """What a file_sync reads: the tree below its host directory, or the one file with an empty path.

    Sockets, devices and FIFOs are left out with a warning; xattrs, times and holes are the host's own affair.
    """
    path, written = sync.host.path, sync.host.written
    if not path.is_dir():
        return iter((file_with_stat(path, rules(sync), written=written, holes=False)[0],))

    def skipped(name: str, kind: EntryType) -> None:
        warn(f"'{written}/{name}' is a {kind.value} and is left out")

    entries = walk_with_stat(path, rules(sync), written=written, skipped=skipped, holes=False)
    return (entry for entry, _ in entries)


def guest_path(sync: FileSync, path: str) -> str:
    """Where a path of the host's tree goes in the guest."""
    return f"{sync.guest}/{path}" if path else sync.guest


def placed(sync: FileSync, entry: Entry) -> Synced:
    """An entry of the host's tree with its place in the guest."""
    return Synced(guest_path(sync, entry.path), entry, guest_path(sync, entry.target))


@dataclass(frozen=True)
class Trees:
    """What file_syncs bring, but for the content."""

    paths: frozenset[str]
    """In the guest, normal."""
    size_bytes: int


@contextmanager
def surveyed(syncs: Iterable[FileSync]) -> Iterator[Trees]:
    """Walk host trees; a context, so that it can be shared."""
    paths, size_bytes = set(), 0
    for sync in syncs:
        for entry in host_tree(sync, _ignore):
            paths.add(normal(guest_path(sync, entry.path)))
            size_bytes += entry.size_bytes
    yield Trees(frozenset(paths), size_bytes)


def synced_paths(syncs: Iterable[FileSync]) -> Iterator[str]:
    """Every guest path that file_syncs write; the trees are walked, no content is read."""
    for sync in syncs:
        for entry in host_tree(sync, _ignore):
            yield guest_path(sync, entry.path)


def synced(declared: DeclaredFiles, now: GuestView, warn: Callable[[str], None]) -> Iterator[Synced]:
    """What file_syncs bring, with the guest's numbers for their owners; a declared file of one path wins.

    Where it wins over the first of several names of a file, the next name is the file, and the others are
    links to that.
    """
    owners, taken = Owners(now), {normal(file.guest) for file in declared.files}
    for sync in declared.file_syncs:
        uid, gid = owners.ids(sync.owner)
        lost: dict[str, Entry] = {}
        for entry in host_tree(sync, warn):
            owned = replace(entry, uid=uid, gid=gid)
            if normal(guest_path(sync, entry.path)) in taken:
                if entry.type is not EntryType.HARD_LINK:
                    lost[entry.path] = owned
                continue
            first = lost.get(entry.target) if entry.type is EntryType.HARD_LINK else None
            if first is None:
                yield placed(sync, owned)
            elif first.path == entry.target:  # none of its other names came yet
                lost[entry.target] = replace(first, path=entry.path)
                yield placed(sync, _again(sync, first, entry.path))
            else:
                yield placed(sync, replace(owned, target=first.path))


def _again(sync: FileSync, first: Entry, path: str) -> Entry:
    """A file under another of its names, to be read from the start."""
    if first.content is None:
        return replace(first, path=path)
    name = f"{sync.host.written}/{path}"
    found, _ = file_with_stat(sync.host.path / path, rules(sync), written=name, holes=False)
    return replace(found, path=path, uid=first.uid, gid=first.gid)


def _ignore(_message: str) -> None:
    pass


def make(disk: Filesystem, changes: Iterable[GuestChange]) -> None:
    """Make these changes on a disk, in their order."""
    for change in changes:
        _MAKERS[type(change)](disk, change)


def _make_file(disk: Filesystem, change: GuestFile) -> None:
    disk.write_file(change.path, change.content, mode=change.mode, uid=change.uid, gid=change.gid)


def _make_directory(disk: Filesystem, change: GuestDirectory) -> None:
    if disk.stat(change.path) is None:
        disk.make_directory(change.path, mode=change.mode, uid=change.uid, gid=change.gid)
    disk.set_attributes(change.path, mode=change.mode, uid=change.uid, gid=change.gid)


def _make_symlink(disk: Filesystem, change: GuestSymlink) -> None:
    disk.make_symlink(change.path, change.target)


def _remove(disk: Filesystem, change: GuestRemoval) -> None:
    for path in list(matching(disk, change.path)):
        disk.remove(path)


def matching(disk: Filesystem, pattern: str) -> Iterator[str]:
    """The paths in a guest that a removal stands for."""
    path = PurePosixPath(pattern)
    if disk.stat(str(path.parent)) is None:
        return
    names = fnmatch.filter(disk.listdir(str(path.parent)) or (), path.name)
    if len(names) > MOST_REMOVED:
        raise FilesystemError(
            f"'{path.parent}' in '{disk.name}' has {len(names)} names that match '{path.name}'",
            hint=f"{MOST_REMOVED} are the most that are removed: remove them in the image",
        )
    yield from (str(path.parent / name) for name in names)


_MAKERS: Mapping[type, Callable[[Filesystem, object], None]] = cast(
    "Mapping[type, Callable[[Filesystem, object], None]]",
    {
        GuestFile: _make_file,
        GuestDirectory: _make_directory,
        GuestSymlink: _make_symlink,
        GuestRemoval: _remove,
    },
)


def sync(
    disk: Filesystem, entries: Iterable[Synced], before: Mapping[str, str], *, spare_same: bool = False
) -> dict[str, str]:
    """Copy host entries onto a disk; a directory that is there keeps its owner, mode and content.

    Args:
        disk: writable.
        entries: in the order of the host's tree.
        before: what the last run wrote, see `ledger`.
        spare_same: whether files that are there as they shall be are looked for, and left alone.

    Returns:
        What was written now.
    """
    lines: dict[str, str] = {}
    for item in entries:
        path = normal(item.guest)
        if item.entry.type is EntryType.DIRECTORY:
            made = _sync_directory(disk, item) or before.get(path) == ledger.NEW_DIRECTORY
            lines[path] = ledger.NEW_DIRECTORY if made else ledger.PLAIN_DIRECTORY
        elif item.entry.type is EntryType.HARD_LINK:
            disk.link(item.guest, item.link_target)
            lines[path] = lines[normal(item.link_target)]
        else:
            line = _same_file(disk, item) if spare_same else None
            lines[path] = line or _sync_leaf(disk, item.guest, item.entry)
    return lines


def _same_file(disk: Filesystem, item: Synced) -> str | None:
    """The line of a file that is there as it shall be; None, and its content unread, of any other."""
    entry = item.entry
    found = disk.stat(item.guest, follow=False)
    if found is None or entry.content is None or (found.type, found.links) != (EntryType.FILE, 1):
        return None
    there = found.mode, found.uid, found.gid, found.size_bytes
    if there != (entry.mode, entry.uid, entry.gid, entry.size_bytes):
        return None
    line = ledger.file_read(entry.content, entry.mode, entry.uid, entry.gid, entry.size_bytes)
    if ledger.is_there(disk, item.guest, line):
        return line
    entry.content.seek(0)
    return None


def _sync_leaf(disk: Filesystem, guest: str, entry: Entry) -> str:
    if entry.type is EntryType.SYMLINK:
        disk.make_symlink(guest, entry.target, uid=entry.uid, gid=entry.gid)
        return ledger.symlink(entry.uid, entry.gid, entry.target)
    content = ledger.Hashed(cast("BinaryIO", entry.content))
    disk.write_file(
        guest,
        cast("BinaryIO", content),
        size_bytes=entry.size_bytes,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
    )
    return ledger.file(entry.mode, entry.uid, entry.gid, entry.size_bytes, content.digest())


def _sync_directory(disk: Filesystem, item: Synced) -> bool:
    """Make it unless the guest has one there, at the end of a symlink perhaps, as its own parents have."""
    found = disk.stat(item.guest)
    if found is not None and found.type is EntryType.DIRECTORY:
        return False
    disk.make_directory(item.guest, mode=item.entry.mode, uid=item.entry.uid, gid=item.entry.gid)
    return True
