"""Writes guest changes and host trees onto a disk; used by all patch steps and by images with own files."""

from __future__ import annotations

import fnmatch
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from bangerbuild.disk import ledger_lines
from bangerbuild.epoch import NANOSECONDS
from bangerbuild.errors import FilesystemError
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.hostfile import changed, data_extents_of
from bangerbuild.guest.owners import Owners
from bangerbuild.guest.paths import normal
from bangerbuild.model import Source
from bangerbuild.steps import ledger
from bangerbuild.tree import EntryType, GuestDirectory, GuestFile, GuestRemoval, GuestSymlink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from bangerbuild.declared import FileSync, InlineFile
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.epoch import Epoch
    from bangerbuild.formats.survey import Survey, SurveyedEntry
    from bangerbuild.guest.defaults import DeclaredFiles
    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import View
    from bangerbuild.tree import Entry, GuestChange


MOST_REMOVED = 1000
"""libext2fs looks for each name from the directory's start."""


@dataclass(frozen=True)
class PlacedEntry:
    """One entry of a host tree and where it goes."""

    guest: str
    entry: Entry
    digest: str = ""
    """sha256 of a file's content, in hex, as it was planned."""
    written: str = ""
    """What messages call it on the host."""
    link_target: str = ""
    """The guest path that a hard link is a further name of."""
    fixed_mtime_ns: int = 0
    """Of a file or symlink, the mtime that is told from its content."""
    made_mtime_ns: int = 0
    """Of directories that are made, and once of files too."""


def rules(sync: FileSync) -> TreeRules:
    """What a file_sync takes of the host's tree."""
    return TreeRules(
        file_mode=sync.mode, directory_mode=sync.directory_mode, exclude=sync.exclude, specials=False
    )


def source(sync: FileSync) -> Source:
    """The host's tree below a directory, or the one file with an empty path, as a step's source.

    Sockets, devices and FIFOs are left out with a warning.
    """
    role = f"file_sync[{sync.guest}]"
    return Source(role, sync.host.path, sync.host.written, rules(sync), surveyed=True)


def guest_path(sync: FileSync, path: str) -> str:
    """Where a path of the host's tree goes in the guest."""
    return f"{sync.guest}/{path}" if path else sync.guest


def placed(sync: FileSync, entry: Entry, digest: str, epoch: Epoch) -> PlacedEntry:
    """An entry of the host's tree with its place in the guest, and its time there."""
    written = f"{sync.host.written}/{entry.path}" if entry.path else sync.host.written
    fixed = epoch.of_content(digest) if digest else epoch.of_bytes(os.fsencode(entry.target))
    if entry.type is EntryType.DIRECTORY:
        fixed = epoch * NANOSECONDS
    is_host = sync.times == "host" and entry.type is not EntryType.DIRECTORY
    timed = replace(entry, mtime_ns=epoch.of_host(entry.mtime_ns) if is_host else fixed)
    target = guest_path(sync, entry.target)
    return PlacedEntry(
        guest_path(sync, entry.path), timed, digest, written, target, fixed, epoch * NANOSECONDS
    )


def secret_source(file: InlineFile) -> Iterator[Source]:
    """The secret that a declared file holds, as a step's source; of any other file nothing."""
    if file.secret is not None:
        written = file.secret.origin.written
        yield Source(f"file[{file.guest}].content", None, written, secret=file.secret)


def revealed(view: View, files: Sequence[InlineFile]) -> tuple[InlineFile, ...]:
    """Declared files with their contents, for the step that writes them."""
    return tuple(_revealed(view, file) if file.secret else file for file in files)


def _revealed(view: View, file: InlineFile) -> InlineFile:
    if file.secret is None:
        return file
    found = view.revealed(file.secret)
    return replace(file, content=found.content.decode("utf-8", "surrogateescape"), salt=found.salt)


@dataclass(frozen=True)
class Trees:
    """The host trees of some file_syncs, as they were planned."""

    surveys: tuple[Survey, ...]
    """One for each file_sync, in their order."""
    paths: frozenset[str]
    """Every guest path that they bring, normal."""
    directories: frozenset[str] = frozenset()
    """Those of directories."""

    @property
    def size_bytes(self) -> int:
        """Of all contents."""
        return sum(survey.size_bytes for survey in self.surveys)

    def least_bytes(self, syncs: Sequence[FileSync]) -> int:
        """What they take at least, in whole blocks; of several for one path the largest counts."""
        places = sorted(f"{normal(sync.guest)}/" for sync in syncs)
        is_apart = not any(below.startswith(place) for place, below in pairwise(places))
        sizes = [survey.allocated_bytes for survey in self.surveys]
        return sum(sizes) if is_apart else max(sizes, default=0)


_NO_TREES = Trees((), frozenset())


def trees(view: View, syncs: Sequence[FileSync]) -> Trees:
    """What these file_syncs bring.

    Raises:
        SourceError: a tree was not looked at before, and can't be read.
    """
    if not syncs:
        return _NO_TREES
    return view.shared(("trees of", tuple(syncs)), lambda: nullcontext(_trees(view, syncs)))


def _trees(view: View, syncs: Sequence[FileSync]) -> Trees:
    surveys = tuple(view.survey(source(sync)) for sync in syncs)
    both = tuple((normal(sync.guest), survey) for sync, survey in zip(syncs, surveys, strict=True))
    paths = (_below(top, path) for top, survey in both for path in survey.paths())
    directories = (_below(top, path) for top, survey in both for path in survey.directories())
    return Trees(surveys, frozenset(paths), frozenset(directories))


def _below(top: str, path: str) -> str:
    """A path of a tree below a guest path, both normal."""
    return f"{top}/{path}" if path else top


def left_out(syncs: Sequence[FileSync], brought: Trees) -> Iterator[str]:
    """Yield a warning for each socket, device and FIFO that these file_syncs do not copy."""
    for sync, survey in zip(syncs, brought.surveys, strict=True):
        yield from _left_out(sync.host.written, survey)


def _left_out(written: str, survey: Survey) -> Iterator[str]:
    return (f"'{written}/{path}' is a {kind.value} and is left out" for path, kind in survey.skipped)


@contextmanager
def shared_trees(view: View, syncs: Sequence[FileSync]) -> Iterator[Trees]:
    """The same as a context, so that jobs can share it."""
    yield trees(view, syncs)


def unchanged(
    declared: DeclaredFiles, now: GuestView, brought: Trees, before: Mapping[str, str]
) -> tuple[dict[str, str], ...]:
    """Of each file_sync the host's paths of what is as the last run wrote it, with the lines of that."""
    owners, taken = Owners(now), {normal(file.guest) for file in declared.files}
    found = []
    for sync, survey in zip(declared.file_syncs, brought.surveys, strict=True):
        owner, top = owners.ids(sync.owner), normal(sync.guest)
        lines: dict[str, str] = {}
        for entry in survey.seen():
            path = _below(top, entry.path)
            line = before.get(path)
            if line is not None and path not in taken and line in _lines_of(entry, *owner):
                lines[entry.path] = line
        found.append(lines)
    return tuple(found)


def spared(syncs: Sequence[FileSync], found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What is `unchanged`, by guest path."""
    lines: dict[str, str] = {}
    for sync, own in zip(syncs, found, strict=False):
        top = normal(sync.guest)
        lines |= {_below(top, path): line for path, line in own.items()}
    return lines


def _lines_of(entry: SurveyedEntry, uid: int, gid: int) -> tuple[str, ...]:
    """The lines, any of which says that an entry is there and needs nothing."""
    if entry.type is EntryType.FILE:
        line = ledger.file(entry.mode, uid, gid, entry.size_bytes, entry.digest)
        return (f"{line} {ledger_lines.xattrs_digest(entry.xattrs)}" if entry.xattrs else line,)
    if entry.type is EntryType.SYMLINK:
        return (ledger.symlink(uid, gid, entry.target),)
    if entry.type is EntryType.DIRECTORY:
        return ledger_lines.PLAIN_DIRECTORY, ledger_lines.new_directory(entry.mode, uid, gid)
    return ()


def times_of(declared: DeclaredFiles, brought: Sequence[Survey], epoch: Epoch) -> str | None:
    """Whose times the files have that file_syncs bring, as text; None where some have several names.

    As long as this is the same, a file with the content that it had needs nothing.
    """
    if any(survey.has_hard_links for survey in brought):
        return None
    return " ".join((epoch.version, *(f"{sync.guest} {sync.times}" for sync in declared.file_syncs)))


def synced(  # noqa: PLR0913, PLR0917  # what, where, and what of it
    declared: DeclaredFiles,
    now: GuestView,
    brought: Trees,
    warn: Callable[[str], None],
    epoch: Epoch,
    without: Sequence[Collection[str]] = (),
) -> Iterator[PlacedEntry]:
    """What file_syncs bring, with the guest's owners and the times there; a declared file of one path wins.

    Where it wins over the first of several names of a file, the next name is the file, and the others are
    links to that. `without` has of each file_sync the host's paths that are left out.
    """
    owners, taken = Owners(now), {normal(file.guest) for file in declared.files}
    for number, (sync, survey) in enumerate(zip(declared.file_syncs, brought.surveys, strict=True)):
        uid, gid = owners.ids(sync.owner)
        written = sync.host.written
        for warning in _left_out(written, survey):
            warn(warning)
        lost: dict[str, PlacedEntry] = {}
        for entry, digest in survey.entries(written, without[number] if without else ()):
            item = placed(sync, replace(entry, uid=uid, gid=gid), digest, epoch)
            if normal(item.guest) in taken:
                if entry.type is not EntryType.HARD_LINK:
                    lost[entry.path] = item
                continue
            first = lost.get(entry.target) if entry.type is EntryType.HARD_LINK else None
            if first is None:
                yield item
            elif first.entry.path == entry.target:  # none of its other names came yet
                again = replace(survey.entry(entry.target, written), path=entry.path, uid=uid, gid=gid)
                lost[entry.target] = placed(sync, again, first.digest, epoch)
                yield lost[entry.target]
            else:
                yield placed(sync, replace(item.entry, target=first.entry.path), "", epoch)


def make(disk: OpenedDisk, changes: Iterable[GuestChange], epoch: Epoch) -> None:
    """Make these changes on a disk, in their order."""
    for change in changes:
        _MAKERS[type(change)](disk, change, epoch)


def mtime_ns(change: GuestFile, epoch: Epoch) -> int:
    """The mtime that a file gets in a guest."""
    return epoch.of_content(change.digest) if change.mtime_ns is None else epoch.of_host(change.mtime_ns)


def set_times(disk: OpenedDisk, changes: Iterable[GuestChange], epoch: Epoch) -> None:
    """Give files that are there as they shall be the mtime that goes with their `times`, see `_set_time`."""
    for change in changes:
        if isinstance(change, GuestFile):
            fixed_ns = epoch.of_content(change.digest)
            _set_time(disk, change.path, mtime_ns(change, epoch), fixed_ns, epoch * NANOSECONDS)


def _set_time(disk: OpenedDisk, path: str, wanted_ns: int, fixed_ns: int, made_ns: int) -> None:
    """Set the mtime of a file that is not written anew.

    A time of the host stays as it was written, because a file that was only touched on the host is no change.
    """
    found = disk.stat(path, follow=False)
    if found is None or found.mtime_ns == wanted_ns:
        return
    if wanted_ns == fixed_ns or found.mtime_ns in {fixed_ns, made_ns}:
        disk.set_attributes(path, mtime_ns=wanted_ns, follow=False)


def _make_file(disk: OpenedDisk, change: GuestFile, epoch: Epoch) -> None:
    disk.write_file(
        change.path,
        change.content,
        mode=change.mode,
        uid=change.uid,
        gid=change.gid,
        mtime_ns=mtime_ns(change, epoch),
    )


def _make_directory(disk: OpenedDisk, change: GuestDirectory, _epoch: Epoch) -> None:
    if disk.stat(change.path) is None:
        disk.make_directory(change.path, mode=change.mode, uid=change.uid, gid=change.gid)
    disk.set_attributes(change.path, mode=change.mode, uid=change.uid, gid=change.gid)


def _make_symlink(disk: OpenedDisk, change: GuestSymlink, _epoch: Epoch) -> None:
    disk.make_symlink(change.path, change.target)


def _remove(disk: OpenedDisk, change: GuestRemoval, _epoch: Epoch) -> None:
    for path in list(matching(disk, change.path)):
        disk.remove(path, recursive=True)


def matching(disk: OpenedDisk, pattern: str) -> Iterator[str]:
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


_MAKERS: Mapping[type, Callable[[OpenedDisk, object, Epoch], None]] = cast(
    "Mapping[type, Callable[[OpenedDisk, object, Epoch], None]]",
    {
        GuestFile: _make_file,
        GuestDirectory: _make_directory,
        GuestSymlink: _make_symlink,
        GuestRemoval: _remove,
    },
)


def sync(
    disk: OpenedDisk, entries: Iterable[PlacedEntry], before: Mapping[str, str], *, spare_same: bool = False
) -> dict[str, str]:
    """Copy host entries onto a disk; a directory that the guest has keeps its owner, mode and content.

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
            lines[path] = _sync_directory(disk, item, before.get(path, ledger_lines.PLAIN_DIRECTORY))
        elif item.entry.type is EntryType.HARD_LINK:
            disk.link(item.guest, item.link_target)
            lines[path] = lines[normal(item.link_target)]
        else:
            line = _same_file(disk, item) if spare_same else None
            lines[path] = line or _sync_leaf(disk, item)
    return lines


def _line_now(disk: OpenedDisk, item: PlacedEntry, before: str) -> str:
    """The line of a directory that was there; an older version did not write how it was made."""
    if not ledger_lines.is_new_directory(before):
        return ledger_lines.PLAIN_DIRECTORY
    line = directory_line(item)
    is_known = before != ledger_lines.NEW_DIRECTORY or ledger.is_as_made(disk, item.guest, line)
    return line if is_known else before


def _same_file(disk: OpenedDisk, item: PlacedEntry) -> str | None:
    """The line of a file that is there as it shall be; None of any other. Nothing is read on the host."""
    found = disk.stat(item.guest, follow=False)
    if found is None or (found.type, found.links) != (EntryType.FILE, 1):
        return None
    line = file_line(item)
    if not ledger_lines.is_there(disk, item.guest, line) or not _has_attributes(disk, item):
        return None
    _set_time(disk, item.guest, item.entry.mtime_ns, item.fixed_mtime_ns, item.made_mtime_ns)
    return line


def _has_attributes(disk: OpenedDisk, item: PlacedEntry) -> bool:
    """Whether a file has the attributes that it shall have, and none that it had once."""
    return ledger_lines.xattrs(disk, item.guest) == item.entry.xattrs


def lines_of(entries: Iterable[PlacedEntry]) -> dict[str, str]:
    """The lines of entries as they are once they are written, a directory's as one that was there."""
    lines: dict[str, str] = {}
    for item in entries:
        entry, path = item.entry, normal(item.guest)
        if entry.type is EntryType.DIRECTORY:
            lines[path] = ledger_lines.PLAIN_DIRECTORY
        elif entry.type is EntryType.HARD_LINK:
            lines[path] = lines[normal(item.link_target)]
        elif entry.type is EntryType.SYMLINK:
            lines[path] = ledger.symlink(entry.uid, entry.gid, entry.target)
        else:
            lines[path] = file_line(item)
    return lines


def file_line(item: PlacedEntry) -> str:
    """The line of a file with the content that was planned."""
    entry = item.entry
    line = ledger.file(entry.mode, entry.uid, entry.gid, entry.size_bytes, item.digest)
    return f"{line} {ledger_lines.xattrs_digest(entry.xattrs)}" if entry.xattrs else line


def _sync_leaf(disk: OpenedDisk, item: PlacedEntry) -> str:
    """Write a file or symlink; its line.

    Raises:
        SourceError: the file is not what was planned. The disk must not be kept then.
    """
    entry = item.entry
    if entry.type is EntryType.SYMLINK:
        disk.make_symlink(item.guest, entry.target, uid=entry.uid, gid=entry.gid, mtime_ns=entry.mtime_ns)
        return ledger.symlink(entry.uid, entry.gid, entry.target)
    extents = data_extents_of(cast("BinaryIO", entry.content))
    content = ledger.Hashed(cast("BinaryIO", entry.content), extents)
    disk.write_file(
        item.guest,
        cast("BinaryIO", content),
        size_bytes=entry.size_bytes,
        data_extents=extents,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime_ns=entry.mtime_ns,
        xattrs=entry.xattrs,
    )
    if content.digest(entry.size_bytes) != item.digest:
        raise changed(item.written)
    return file_line(item)


def directory_line(item: PlacedEntry) -> str:
    """The line of a directory that is made as planned."""
    return ledger_lines.new_directory(item.entry.mode, item.entry.uid, item.entry.gid)


def is_ours_to_change(disk: OpenedDisk, item: PlacedEntry, before: str) -> bool:
    """Whether a directory that an earlier run made gets what is declared now: not if the guest changed it."""
    return before != directory_line(item) and ledger.is_as_made(disk, item.guest, before)


def _sync_directory(disk: OpenedDisk, item: PlacedEntry, before: str) -> str:
    """Make it unless the guest has one there, at the end of a symlink perhaps, as its own parents have.

    Returns its line; `before` is that of the last run.
    """
    found, entry = disk.stat(item.guest), item.entry
    if found is not None and found.type is EntryType.DIRECTORY:
        if is_ours_to_change(disk, item, before):
            disk.set_attributes(item.guest, mode=entry.mode, uid=entry.uid, gid=entry.gid)
        return _line_now(disk, item, before)
    disk.make_directory(
        item.guest,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime_ns=entry.mtime_ns,
        xattrs=entry.xattrs,
    )
    return directory_line(item)
