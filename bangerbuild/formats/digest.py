"""Digests of host files and trees: sha256 of a file's content, or of all that a walk finds in a tree.

No digest depends on times, on where the tree lies, on the order of a directory, or on holes.
"""

from __future__ import annotations

import hashlib
import stat
import time
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bangerbuild.formats.directory import file_with_stat, walk_with_stat
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.hostfile import STAT_BLOCK_BYTES, HostContent, stat_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bangerbuild.formats.directory import IsKnown, Skipped
    from bangerbuild.tree import Entry

StatKey = tuple[int, int, int, int, int]

_PIECE_BYTES = 1 << 20
_ZEROS = memoryview(bytes(_PIECE_BYTES))
_RACY_NS = 20_000_000
_TREE_FORMAT = "bangerbuild tree 2"
_CONTENT_ONLY = TreeRules(xattrs=False)


class DigestCache(Protocol):
    """Remembers digests of files, so that a file whose stat is the same is not read again.

    The key is `stat_key(found)`. It is neither asked nor told about a file so young that its next change
    could leave the same stat (git's racy rule); an implementation need not care about that.
    """

    def get(self, path: str, found: os.stat_result) -> str | None:
        """The digest of a file that stat says this of; None if it is not known."""

    def put(self, path: str, found: os.stat_result, digest: str) -> None:
        """Remembers it."""


def stat_key(found: os.stat_result) -> StatKey:
    """What says that a file is the one it was: device, inode, size, mtime and ctime in nanoseconds."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def file_digest(path: Path, *, cache: DigestCache | None = None, written: str | None = None) -> str:
    """The sha256, in hex, of the content of a regular file; `path` may be a symlink to it.

    Raises:
        SourceError: it is no regular file, can't be read, or changed while it was read.
    """
    entry, found = file_with_stat(path, _CONTENT_ONLY, written=written, holes=False)
    return _content_digest(entry, found, str(path), cache)


def tree_digest(
    top: Path, rules: TreeRules, *, cache: DigestCache | None = None, written: str | None = None
) -> str:
    """The sha256, in hex, of all that these rules take of a directory or file, but for times.

    Raises:
        SourceError: something can't be read, or vanished or changed during the walk.
    """
    listing = Listing()
    for entry, _, content in digested(top, rules, cache=cache, written=written):
        listing.add(line(entry, content))
    return listing.hexdigest()


class Listing:
    """The digest of a tree, made of its entries in the order of a walk."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256(f"{_TREE_FORMAT}\n".encode())

    def add(self, *lines: bytes) -> None:
        """The next entries, see `line`."""
        self._hash.update(b"".join(lines))

    def hexdigest(self) -> str:
        """The sha256 of all entries, in hex."""
        return self._hash.hexdigest()


def digested(  # noqa: PLR0913  # those of `walk_with_stat`, and a cache
    top: Path,
    rules: TreeRules,
    *,
    cache: DigestCache | None = None,
    written: str | None = None,
    skipped: Skipped | None = None,
    is_known: IsKnown | None = None,
) -> Iterator[tuple[Entry, os.stat_result, str]]:
    """Walk a directory or file; each entry with its stat and with the digest of its content.

    `skipped` and `is_known` are those of `walk_with_stat`.

    Raises:
        SourceError: while iterating, as `tree_digest`.
    """
    for entry, found in _walk(top, rules, written, skipped, is_known):
        yield entry, found, _content_digest(entry, found, f"{top}/{entry.path}", cache)


def _walk(
    top: Path, rules: TreeRules, written: str | None, skipped: Skipped | None, is_known: IsKnown | None
) -> Iterable[tuple[Entry, os.stat_result]]:
    if stat.S_ISDIR(stat_of(top, written or str(top)).st_mode):
        return walk_with_stat(top, rules, written=written, skipped=skipped, holes=False, is_known=is_known)
    return [file_with_stat(top, rules, written=written, holes=False)]


def line(entry: Entry, content: str) -> bytes:
    """What counts of an entry, and the digest of its content, which is empty for what has none.

    These are six fields, each ended by the byte that none holds: no two entries share a line.
    """
    numbers = f"{entry.mode} {entry.uid} {entry.gid} {entry.size_bytes} {entry.device}"
    xattrs = str(sorted((name, value.hex()) for name, value in entry.xattrs.items())) if entry.xattrs else ""
    fields = (entry.path, entry.type.value, numbers, entry.target, xattrs, content)
    return "\0".join((*fields, "")).encode("utf-8", "surrogateescape")


def _content_digest(entry: Entry, found: os.stat_result, path: str, cache: DigestCache | None) -> str:
    """Empty for what has no content."""
    if entry.content is None:
        return ""
    if cache is None or not is_settled(found):
        return _sha256(entry.content, found)
    known = cache.get(path, found)
    if known is None:
        known = _sha256(entry.content, found)
        cache.put(path, found, known)
    return known


def is_settled(found: os.stat_result) -> bool:
    """Whether a later change will show in the file's times.

    A change within the tick of the kernel's clock (4 ms or more) in which the file was changed before does
    not show, and in a file dated in the future it may not show either.
    """
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - _RACY_NS


def _sha256(content: BinaryIO, found: os.stat_result) -> str:
    """Holes are taken as the zeros that they read as, and not read."""
    digest = hashlib.sha256()
    is_sparse = found.st_blocks * STAT_BLOCK_BYTES < found.st_size
    extents = content.skip_holes() if is_sparse and isinstance(content, HostContent) else None
    position = 0
    for offset, length in ((0, found.st_size),) if extents is None else extents:
        _take_zeros(digest, offset - position)
        _take(digest, content, length)
        position = offset + length
    _take_zeros(digest, found.st_size - position)
    return digest.hexdigest()


def _take(digest: hashlib._Hash, content: BinaryIO, length: int) -> None:
    while length and (piece := content.read(min(length, _PIECE_BYTES))):
        digest.update(piece)
        length -= len(piece)


def _take_zeros(digest: hashlib._Hash, length: int) -> None:
    for at in range(0, length, _PIECE_BYTES):
        digest.update(_ZEROS[: length - at])
