"""The preview of a patch: what it would change on a disk, file by file, as diffs and notes."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from io import StringIO
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from bangerbuild.disk import ledger_lines
from bangerbuild.guest.paths import normal
from bangerbuild.model import FileDiff
from bangerbuild.steps import ledger
from bangerbuild.steps.patching import directory_line, file_line, is_ours_to_change, matching
from bangerbuild.tree import EntryType, GuestDirectory, GuestFile, GuestSymlink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.steps.patching import PlacedEntry
    from bangerbuild.tree import GuestChange

DIFF_BYTES = 1 << 20
"""Larger files are not compared line by line."""
DIFF_FILE_LINES = 10_000
DIFF_ALIKE = 100_000
"""How many pairs of an old and a new line may be alike."""
IN_THE_WAY = "can't be written: a directory is there in the guest; move it away, or change the manifest"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
"""A guest's file must not speak to the terminal that its diff is shown on."""


def differences(
    disk: OpenedDisk,
    changes: Iterable[GuestChange],
    entries: Iterable[PlacedEntry],
    before: Mapping[str, str] = MappingProxyType({}),
    *,
    is_untouched: bool = False,
) -> Iterator[FileDiff]:
    """What `patching.make` and `patching.sync` would change.

    Args:
        disk: to be read.
        changes: what is declared.
        entries: what file_syncs bring.
        before: what the last run wrote, see `ledger`.
        is_untouched: whether that is certain to be there: of that neither disk nor host is read.
    """
    known = before if is_untouched else {}
    for change in changes:
        lines = ledger.of_changes([change])
        if not lines or not lines.items() <= known.items():
            yield from _change_differences(disk, change, before)
    for item in entries:
        if not _is_known(item, known):
            yield from _entry_differences(disk, item, before.get(normal(item.guest), ""))


def _is_known(item: PlacedEntry, known: Mapping[str, str]) -> bool:
    entry, line = item.entry, known.get(normal(item.guest))
    if line is None:
        return False
    if entry.type is EntryType.DIRECTORY:
        return line in {ledger_lines.PLAIN_DIRECTORY, directory_line(item)}
    if entry.type is EntryType.HARD_LINK:
        return True
    if entry.type is EntryType.SYMLINK:
        return line == ledger.symlink(entry.uid, entry.gid, entry.target)
    return line == file_line(item)


def _change_differences(
    disk: OpenedDisk, change: GuestChange, before: Mapping[str, str]
) -> Iterator[FileDiff]:
    if isinstance(change, GuestFile):
        yield from _file_differences(disk, change, before.get(normal(change.path), ""))
    elif isinstance(change, GuestSymlink):
        yield from _symlink_differences(disk, change.path, change.target)
    elif isinstance(change, GuestDirectory):
        found = disk.stat(change.path)
        yield from _noted(change.path, _attribute_note(found, change.mode, change.uid, change.gid))
    else:
        for path in matching(disk, change.path):
            yield FileDiff(path, note="is removed")


def _entry_differences(disk: OpenedDisk, item: PlacedEntry, before: str) -> Iterator[FileDiff]:
    found = list(_but_for_xattrs(disk, item, before))
    if not found and item.entry.type is EntryType.FILE:
        found += _noted(
            item.guest, _xattrs_note(ledger_lines.xattrs(disk, item.guest) or {}, item.entry.xattrs)
        )
    yield from found


def _xattrs_note(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> str | None:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return f"extended attributes change: {', '.join(names)}" if names else None


def _but_for_xattrs(disk: OpenedDisk, item: PlacedEntry, before: str) -> Iterator[FileDiff]:
    entry = item.entry
    if entry.type is EntryType.DIRECTORY:
        found = disk.stat(item.guest)
        if found is None or is_ours_to_change(disk, item, before):
            yield from _noted(item.guest, _attribute_note(found, entry.mode, entry.uid, entry.gid))
    elif entry.type is EntryType.SYMLINK:
        yield from _symlink_differences(disk, item.guest, entry.target)
    elif entry.type is EntryType.HARD_LINK:
        yield from _noted(item.guest, None if disk.exists(item.guest) else "is made")
    elif entry.size_bytes <= DIFF_BYTES:
        content = cast("BinaryIO", entry.content).read()
        file = GuestFile(item.guest, content, entry.mode, entry.uid, entry.gid)
        yield from _file_differences(disk, file, before)
    else:
        found = disk.stat(item.guest, follow=False)
        yield from _noted(item.guest, _large_file_note(disk, item, found))


def _large_file_note(disk: OpenedDisk, item: PlacedEntry, found: Stat | None) -> str | None:
    entry = item.entry
    if found is None or found.type is not EntryType.FILE or found.size_bytes != entry.size_bytes:
        return f"{entry.size_bytes} bytes"
    content = cast("BinaryIO", entry.content)
    same = all(piece == content.read(len(piece)) for piece in disk.read_chunks(item.guest) or ())
    return _attribute_note(found, entry.mode, entry.uid, entry.gid) if same else f"{entry.size_bytes} bytes"


def _symlink_differences(disk: OpenedDisk, path: str, target: str) -> Iterator[FileDiff]:
    found = disk.stat(path, follow=False)
    if found is not None and found.type is EntryType.DIRECTORY:
        yield FileDiff(path, note=IN_THE_WAY)
        return
    same = found is not None and found.type is EntryType.SYMLINK and found.target == target
    yield from _noted(path, None if same else f"becomes a symlink to {target}")


def _file_differences(disk: OpenedDisk, change: GuestFile, before: str) -> Iterator[FileDiff]:
    """What comes of a file; `before` is the line of what was written there last, empty: nothing was."""
    found = disk.stat(change.path, follow=False)
    is_file = found is not None and found.type is EntryType.FILE
    if found is not None and found.type is EntryType.DIRECTORY:
        yield FileDiff(change.path, note=IN_THE_WAY)
        return
    if found is not None and is_file and found.size_bytes > DIFF_BYTES:
        yield FileDiff(change.path, note=f"{len(change.content)} bytes")
        return
    old = disk.read(change.path) or b"" if is_file else b""
    if is_file and old == change.content:
        yield from _noted(change.path, _attribute_note(found, change.mode, change.uid, change.gid))
    elif _is_private(change.salt, change.mode, before) or (is_file and found and not found.mode & 0o077):
        yield FileDiff(change.path, note="changes (contents not shown)")
    else:
        yield _content_difference(change, old)


def _is_private(salt: str, mode: int, before: str) -> bool:
    """Whether nobody is to see what a file holds, or held."""
    return bool(salt) or not mode & 0o077 or ledger_lines.is_secret(before)


def _content_difference(change: GuestFile, old: bytes) -> FileDiff:
    try:
        before, after = (_lines(content) for content in (old, change.content))
    except UnicodeDecodeError:
        return FileDiff(change.path, note=f"binary, {len(change.content)} bytes")
    if not _is_comparable(before, after):
        return FileDiff(change.path, note=f"{len(change.content)} bytes, too many lines to compare")
    lines = difflib.unified_diff(before, after, change.path, change.path)
    return FileDiff(change.path, "".join(line if line.endswith("\n") else f"{line}\n" for line in lines))


def _is_comparable(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether difflib gets to an end: a guest can make a file with which it takes hours."""
    counts = Counter(after)
    alike = sum(counts[line] for line in before)
    return len(before) + len(after) <= DIFF_FILE_LINES and alike <= DIFF_ALIKE


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


def withdrawn(disk: OpenedDisk, base: OpenedDisk | None, path: str, line: str) -> Iterator[FileDiff]:
    """What comes of a path that is no longer declared: the image's own file, or nothing.

    `line` says what was written there.
    """
    found = disk.stat(path, follow=False)
    own = base.stat(path, follow=False) if base else None
    if base is not None and own is not None and own.type is EntryType.FILE:
        yield from _file_differences(
            disk, GuestFile(path, base.read(path) or b"", own.mode, own.uid, own.gid), line
        )
    elif found is not None and found.type is EntryType.FILE and found.size_bytes:
        gone = GuestFile(path, b"", found.mode, found.uid, found.gid)
        yield from _file_differences(disk, gone, line)
    elif found is not None and found.type is not EntryType.DIRECTORY:
        yield FileDiff(path, note="is removed")
