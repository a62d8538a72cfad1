"""How guest changes and host trees get onto a disk, and what they would change; all patch steps share it."""

from __future__ import annotations

import difflib
import fnmatch
import re
import threading
from dataclasses import dataclass
from io import StringIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from bangerbuild.guest.files import GuestDirectory, GuestFile, GuestRemoval, GuestSymlink
from bangerbuild.model import FileDiff
from bangerbuild.sources.directory import file_with_stat, walk_with_stat
from bangerbuild.sources.hostentry import TreeRules
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.inode import Stat
    from bangerbuild.guest.files import GuestChange
    from bangerbuild.spec import FileSync
    from bangerbuild.tree import Entry

DIFF_BYTES = 1 << 20
"""Larger files are not compared line by line."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""A guest's file must not speak to the terminal that its diff is shown on."""


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
    for path in list(_matching(disk, change.path)):
        disk.remove(path)


def _matching(disk: Filesystem, pattern: str) -> Iterator[str]:
    """The paths in a guest that a removal stands for."""
    path = PurePosixPath(pattern)
    if disk.stat(str(path.parent)) is None:
        return
    for name in disk.listdir(str(path.parent)) or ():
        if fnmatch.fnmatchcase(name, path.name):
            yield str(path.parent / name)


_MAKERS: Mapping[type, Callable[[Filesystem, object], None]] = cast(
    "Mapping[type, Callable[[Filesystem, object], None]]",
    {
        GuestFile: _make_file,
        GuestDirectory: _make_directory,
        GuestSymlink: _make_symlink,
        GuestRemoval: _remove,
    },
)


def sync(disk: Filesystem, entries: Iterable[Synced]) -> None:
    """Copy host entries onto a disk; a directory that is there keeps its owner, mode and content."""
    for item in entries:
        entry = item.entry
        if entry.type is EntryType.DIRECTORY:
            _sync_directory(disk, item)
        elif entry.type is EntryType.SYMLINK:
            disk.make_symlink(item.guest, entry.target, uid=entry.uid, gid=entry.gid)
        elif entry.type is EntryType.HARD_LINK:
            disk.link(item.guest, item.link_target)
        else:
            disk.write_file(
                item.guest,
                cast("BinaryIO", entry.content),
                size_bytes=entry.size_bytes,
                mode=entry.mode,
                uid=entry.uid,
                gid=entry.gid,
            )


def _sync_directory(disk: Filesystem, item: Synced) -> None:
    """Make it unless the guest has one there, at the end of a symlink perhaps, as its own parents have."""
    found = disk.stat(item.guest)
    if found is None or found.type is not EntryType.DIRECTORY:
        disk.make_directory(item.guest, mode=item.entry.mode, uid=item.entry.uid, gid=item.entry.gid)


def differences(
    disk: Filesystem, changes: Iterable[GuestChange], entries: Iterable[Synced]
) -> Iterator[FileDiff]:
    """What `make` and `sync` would change on a disk, file by file; nothing is written."""
    for change in changes:
        yield from _change_differences(disk, change)
    for item in entries:
        yield from _entry_differences(disk, item)


def _change_differences(disk: Filesystem, change: GuestChange) -> Iterator[FileDiff]:
    if isinstance(change, GuestFile):
        yield from _file_differences(disk, change)
    elif isinstance(change, GuestSymlink):
        yield from _symlink_differences(disk, change.path, change.target)
    elif isinstance(change, GuestDirectory):
        found = disk.stat(change.path)
        yield from _noted(change.path, _attribute_note(found, change.mode, change.uid, change.gid))
    else:
        for path in _matching(disk, change.path):
            yield FileDiff(path, note="is removed")


def _entry_differences(disk: Filesystem, item: Synced) -> Iterator[FileDiff]:
    entry = item.entry
    if entry.type is EntryType.DIRECTORY:
        yield from _noted(item.guest, "is made" if disk.stat(item.guest) is None else None)
    elif entry.type is EntryType.SYMLINK:
        yield from _symlink_differences(disk, item.guest, entry.target)
    elif entry.type is EntryType.HARD_LINK:
        yield from _noted(item.guest, None if disk.exists(item.guest) else "is made")
    elif entry.size_bytes <= DIFF_BYTES:
        content = cast("BinaryIO", entry.content).read()
        file = GuestFile(item.guest, content, entry.mode, entry.uid, entry.gid)
        yield from _file_differences(disk, file)
    else:
        found = disk.stat(item.guest, follow=False)
        yield from _noted(item.guest, _large_file_note(disk, item, found))


def _large_file_note(disk: Filesystem, item: Synced, found: Stat | None) -> str | None:
    entry = item.entry
    if found is None or found.type is not EntryType.FILE or found.size_bytes != entry.size_bytes:
        return f"{entry.size_bytes} bytes"
    content = cast("BinaryIO", entry.content)
    same = all(piece == content.read(len(piece)) for piece in disk.read_chunks(item.guest) or ())
    return _attribute_note(found, entry.mode, entry.uid, entry.gid) if same else f"{entry.size_bytes} bytes"


def _symlink_differences(disk: Filesystem, path: str, target: str) -> Iterator[FileDiff]:
    found = disk.stat(path, follow=False)
    same = found is not None and found.type is EntryType.SYMLINK and found.target == target
    yield from _noted(path, None if same else f"becomes a symlink to {target}")


def _file_differences(disk: Filesystem, change: GuestFile) -> Iterator[FileDiff]:
    found = disk.stat(change.path, follow=False)
    is_file = found is not None and found.type is EntryType.FILE
    if found is not None and is_file and found.size_bytes > DIFF_BYTES:
        yield FileDiff(change.path, note=f"{len(change.content)} bytes")
        return
    old = disk.read(change.path) or b"" if is_file else b""
    if is_file and old == change.content:
        yield from _noted(change.path, _attribute_note(found, change.mode, change.uid, change.gid))
    elif not change.mode & 0o077 or (found is not None and is_file and not found.mode & 0o077):
        yield FileDiff(change.path, note="changes (contents not shown)")
    else:
        yield _content_difference(change, old)


def _content_difference(change: GuestFile, old: bytes) -> FileDiff:
    try:
        before, after = (_lines(content) for content in (old, change.content))
    except UnicodeDecodeError:
        return FileDiff(change.path, note=f"binary, {len(change.content)} bytes")
    lines = difflib.unified_diff(before, after, change.path, change.path)
    return FileDiff(change.path, "".join(line if line.endswith("\n") else f"{line}\n" for line in lines))


def _lines(content: bytes) -> list[str]:
    text = content.decode()
    if _CONTROL.search(text):
        raise UnicodeDecodeError("utf-8", content, 0, 1, "control characters are no text")
    return list(StringIO(text, newline="\n"))


def _attribute_note(found: Stat | None, mode: int, uid: int, gid: int) -> str | None:
    if found is None:
        return "is made"
    notes = []
    if found.mode != mode:
        notes.append(f"mode {found.mode:04o} -> {mode:04o}")
    if (found.uid, found.gid) != (uid, gid):
        notes.append(f"owner {found.uid}:{found.gid} -> {uid}:{gid}")
    return ", ".join(notes) or None


def _noted(path: str, note: str | None) -> Iterator[FileDiff]:
    if note is not None:
        yield FileDiff(path, note=note)


class ImageView:
    """An image as a patch may read it, each thing once: one serves all the VMs that stand on the image.

    Threads take turns. The image is never written, so what was read stays true.
    """

    def __init__(self, image: Filesystem) -> None:
        self._image = image
        self._lock = threading.Lock()
        self._stats: dict[str, Stat | None] = {}
        self._contents: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes | None:
        """See GuestView."""
        with self._lock:
            if path not in self._contents:
                self._contents[path] = self._image.read(path)
            return self._contents[path]

    def exists(self, path: str) -> bool:
        """See GuestView."""
        return self._stat(path) is not None

    def mode(self, path: str) -> int | None:
        """See GuestView."""
        found = self._stat(path)
        return found.mode if found else None

    def _stat(self, path: str) -> Stat | None:
        with self._lock:
            if path not in self._stats:
                self._stats[path] = self._image.stat(path)
            return self._stats[path]


class RootView:
    """A root as its patch may read it: its image, but for the users and groups that the root has now.

    The image's fstab and sshd_config are what a patch adds to; on the root they hold what it added before.
    """

    def __init__(self, image: ImageView, disk: Filesystem) -> None:
        self._image = image
        self._disk = disk

    def read(self, path: str) -> bytes | None:
        """See GuestView."""
        return (self._disk if path in {"/etc/passwd", "/etc/group"} else self._image).read(path)

    def exists(self, path: str) -> bool:
        """See GuestView."""
        return self._image.exists(path)

    def mode(self, path: str) -> int | None:
        """See GuestView."""
        return self._image.mode(path)
