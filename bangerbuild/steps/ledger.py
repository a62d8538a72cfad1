"""The ledger of a patch, kept in the store: what it wrote into a guest, a line for each guest path.

`disk.ledger_lines` says how a line reads, and compares it with what is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, cast

from bangerbuild.disk import ledger_lines
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.guest.paths import normal
from bangerbuild.guest.sshd import AUTHORIZED_KEYS
from bangerbuild.tree import EntryType, GuestDirectory, GuestFile, GuestSymlink

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.formats.sparse import Extents
    from bangerbuild.tree import GuestChange

_ZEROS = memoryview(bytes(1 << 20))


def of_changes(changes: Iterable[GuestChange]) -> dict[str, str]:
    """What these changes leave in a guest; of a removal nothing."""
    lines: dict[str, str] = {}
    for change in changes:
        if isinstance(change, GuestFile):
            digest = f"{change.salt}:{change.digest}" if change.salt else change.digest
            lines[normal(change.path)] = file(
                change.mode, change.uid, change.gid, len(change.content), digest
            )
        elif isinstance(change, GuestSymlink):
            lines[normal(change.path)] = symlink(0, 0, change.target)
        elif isinstance(change, GuestDirectory):
            lines[normal(change.path)] = (
                f"{ledger_lines.PLAIN_DIRECTORY} {change.mode:04o} {change.uid}:{change.gid}"
            )
    return lines


def file(mode: int, uid: int, gid: int, size_bytes: int, digest: str) -> str:
    """The line of a regular file."""
    return f"file {mode:04o} {uid}:{gid} {size_bytes} {digest}"


def is_as_made(disk: OpenedDisk, path: str, line: str) -> bool:
    """Whether such a directory is there with the mode and owner that it was made with."""
    found = disk.stat(path, follow=False)
    if found is None or found.type is not EntryType.DIRECTORY:
        return False
    return line == ledger_lines.new_directory(found.mode, found.uid, found.gid)


def symlink(uid: int, gid: int, target: str) -> str:
    """The line of a symlink."""
    return f"symlink {uid}:{gid} {target}"


class Hashed:
    """A stream that is hashed while it is read.

    Args:
        stream: from its start.
        extents: where the file has data, if the stream has only that, see `tree.Entry`.
    """

    def __init__(self, stream: BinaryIO, extents: Extents | None = None) -> None:
        self._stream = stream
        self._hasher = hashlib.sha256()
        self._hashed_bytes = 0
        self._extents = None if extents is None else list(extents)

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, all if it is negative, and hash them."""
        piece = self._stream.read(size)
        if self._extents is None:
            self._hasher.update(piece)
        else:
            self._hash_into(memoryview(piece), self._extents)
        return piece

    def _hash_into(self, piece: memoryview, extents: list[tuple[int, int]]) -> None:
        """Hash data, with zeros for the holes before each of its parts."""
        while piece:
            offset, length = extents[0]
            self._hash_zeros(offset - self._hashed_bytes)
            part, piece = piece[:length], piece[length:]
            self._hasher.update(part)
            self._hashed_bytes += len(part)
            extents[:1] = [(offset + len(part), length - len(part))] if len(part) < length else []

    def _hash_zeros(self, count: int) -> None:
        for at in range(0, count, len(_ZEROS)):
            self._hasher.update(_ZEROS[: count - at])
        self._hashed_bytes += count

    def digest(self, size_bytes: int) -> str:
        """SHA-256 of the file of this size, in hex, once all its data was read."""
        if self._extents is not None:
            self._hash_zeros(size_bytes - self._hashed_bytes)
        return self._hasher.hexdigest()


def as_found(
    disk: OpenedDisk, lines: Mapping[str, str], perhaps: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """What was written last: `lines`, or of runs that were interrupted whatever the disk has."""
    found = {
        path: line
        for path, some in perhaps.items()
        for line in some
        if ledger_lines.is_there(disk, path, line) and not _is_another(disk, path, line, lines)
    }
    return {**lines, **found}


def _is_another(disk: OpenedDisk, path: str, line: str, lines: Mapping[str, str]) -> bool:
    """Whether a directory that was made before does not have what an interrupted run would have given it."""
    return ledger_lines.is_new_directory(line) and path in lines and not is_as_made(disk, path, line)


def is_alone_there(disk: OpenedDisk, path: str, line: str) -> bool:
    """Whether a path has what is to be written already, and is the only name of it."""
    if not ledger_lines.is_there(disk, path, line):
        return False
    found = disk.stat(path, follow=False)
    return found is not None and (found.type is EntryType.DIRECTORY or found.links == 1)


def check(disk: OpenedDisk, lines: Mapping[str, str]) -> None:
    """Read back all that was written.

    Raises:
        FilesystemError: something does not read as it was written.
    """
    for path in ledger_lines.differing(disk, lines):
        raise FilesystemError(
            f"'{path}' in '{disk.name}' does not read back as it was written",
            hint="check the disk of this host (dmesg), then `bangerbuild apply`",
        )


def still_needed(disk: OpenedDisk, changes: Iterable[GuestChange]) -> Iterator[GuestChange]:
    """The changes but for files and symlinks that are there as they shall be."""
    for change in changes:
        lines = of_changes((change,))
        settled = not isinstance(change, GuestDirectory) and lines
        if not settled or not all(is_alone_there(disk, path, line) for path, line in lines.items()):
            yield change


def undeclared(disk: OpenedDisk, lines: Mapping[str, str], wanted: Collection[str]) -> list[str]:
    """The paths that were written once, are no longer asked for and still there, those below first.

    Keys stay when none are given any more, and directories that were not made for their content.
    """
    kept = {AUTHORIZED_KEYS, *wanted}
    gone = [
        path
        for path in sorted(lines, reverse=True)
        if path not in kept
        and (
            ledger_lines.is_new_directory(lines[path])
            or not lines[path].startswith(ledger_lines.PLAIN_DIRECTORY)
        )
    ]
    if not gone:
        return []
    there, taken = _places(disk, gone), set(_places(disk, kept).values())
    return [path for path in gone if path in there and there[path] not in taken and _is_named(disk, path)]


def _is_named(disk: OpenedDisk, path: str) -> bool:
    try:
        return disk.stat(path, follow=False) is not None
    except GuestPathError:  # another disk is mounted there now
        return False


def _places(disk: OpenedDisk, paths: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Where the name of each path stands in the guest: its directory's inode, and the name itself.

    Two paths may lead to one name, through `/lib -> usr/lib`; those that lead onto another disk now, or
    nowhere, are left out.
    """
    inodes: dict[str, int | None] = {}
    found = {}
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in inodes:
            inodes[parent] = _inode(disk, parent or "/")
        if (ino := inodes[parent]) is not None:
            found[path] = ino, name
    return found


def _inode(disk: OpenedDisk, path: str) -> int | None:
    try:
        stat = disk.stat(path)
    except GuestPathError:
        return None
    return stat.ino if stat else None


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def refuse_two_of_one(disk: OpenedDisk, lines: Mapping[str, str]) -> None:
    """Refuse two paths that lead to one name and shall not be the same.

    Raises:
        GuestPathError: there are such, and one would be written over the other for ever.
    """
    refuse_different(twins(disk, lines), lines, disk.name)


def twins(disk: OpenedDisk, paths: Collection[str]) -> Iterator[tuple[str, str]]:
    """Pairs of paths that lead to one name."""
    names = Counter(map(_name, paths))
    namesakes = (path for path in paths if names[_name(path)] > 1)
    first: dict[tuple[int, str], str] = {}
    for path, place in _places(disk, namesakes).items():
        if (other := first.setdefault(place, path)) != path:
            yield other, path


def refuse_different(pairs: Iterable[tuple[str, str]], lines: Mapping[str, str], disk: str) -> None:
    """The same for pairs that are known."""
    for other, path in pairs:
        if lines[other] != lines[path] and not lines[path].startswith(ledger_lines.PLAIN_DIRECTORY):
            raise GuestPathError(
                f"'{other}' and '{path}' are one file in '{disk}', and shall not be the same",
                hint="declare it under one of the two paths only",
            )


class _Pieces:
    """Content that comes in pieces of at most 1 MiB, as a stream that is asked for no less."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, _size: int) -> bytes:
        return next(self._pieces, b"")


def withdraw(disk: OpenedDisk, base: OpenedDisk | None, path: str, line: str) -> bool:
    """Make a path as it would be if it had never been declared; False if the guest changed what is there.

    Args:
        disk: the guest's, writable.
        base: the image that it stands on, whose own file comes back; None: there is none.
        path: what was written once.
        line: and how.
    """
    if not ledger_lines.is_there(disk, path, line):
        return False
    if ledger_lines.is_new_directory(line):
        if not disk.listdir(path):
            disk.remove(path)
        return True
    own = base.stat(path, follow=False) if base else None
    if base is not None and own is not None and own.type is EntryType.FILE:
        disk.write_file(
            path,
            cast("BinaryIO", _Pieces(base.read_chunks(path) or iter(()))),
            size_bytes=own.size_bytes,
            mode=own.mode,
            uid=own.uid,
            gid=own.gid,
            mtime_ns=own.mtime_ns,
            xattrs=base.get_xattrs(path),
        )
    elif own is not None and own.type is EntryType.SYMLINK:
        disk.make_symlink(path, own.target, uid=own.uid, gid=own.gid, mtime_ns=own.mtime_ns)
    else:
        disk.remove(path)
    return True
