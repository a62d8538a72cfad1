"""cpio archives as streams of tree entries: "newc" and "crc", compressed or not, concatenated as in initrds.

An archive is never held in memory as a whole. It is read completely or refused, as tarballs are: see
`archive`.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats.archive import ID_MAX, MAJOR_MAX, MINOR_MAX, SYMLINK_MODE
from bangerbuild.formats.cpioheader import ALIGNMENT, HEADER_BYTES, parse_header
from bangerbuild.formats.cpiolinks import HardLinks
from bangerbuild.formats.cpiostream import CpioStream
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.limits import ENTRY_BYTES, Budget, UnpackLimits
from bangerbuild.formats.names import (
    PATH_BYTES_MAX,
    SYMLINK_BYTES_MAX,
    new_parents,
    symlink_text,
    text_of,
    tree_path,
)
from bangerbuild.formats.tarstream import MemberContent
from bangerbuild.tree import TYPES, Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.formats.cpioheader import CpioHeader

_TRAILER = b"TRAILER!!!"
_DEVICES = (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE)
_NEVER_LINKED = (EntryType.DIRECTORY, EntryType.SYMLINK)
DEFAULT_LIMITS = UnpackLimits()


@contextmanager
def open_cpio(
    path: Path, *, written: str | None = None, limits: UnpackLimits = DEFAULT_LIMITS
) -> Iterator[Iterator[Entry]]:
    """The entries of the archives at `path`, in their order. A name may be repeated; its last entry counts.

    A hard link comes after what it is a link to.

    Raises:
        SourceError: here or while iterating: it is no cpio archive, one of an old form, cut short or damaged,
            unpacks to more than `limits` allow, or holds an entry that can't be read.
    """
    written = written or str(path)
    with opened_file(path, written, directory_hint="name it with `directory = …`") as file:
        budget = Budget(limits, os.fstat(file.fileno()).st_size, written)
        yield _entries(CpioStream(file, written, budget))


def _entries(stream: CpioStream) -> Iterator[Entry]:
    parents = {""}
    while stream.next_archive():
        for entry in _Archive(stream).entries():
            stream.spend(ENTRY_BYTES * (1 + new_parents(entry.path, parents)))
            yield entry


class _Archive:
    """One archive, up to its trailer."""

    def __init__(self, stream: CpioStream) -> None:
        self._stream = stream
        self._links = HardLinks()

    def entries(self) -> Iterator[Entry]:
        while (member := self._next()) is not None:
            header, raw_name = member
            name = text_of(raw_name)
            self._stream.place = f"in the middle of '{name}'"
            try:
                yield from self._member(header, raw_name)
            except FormatError as err:
                brief = f"'{self._stream.written}': '{name}' {err.brief}"
                raise SourceError(brief, hint=err.hint) from err
            self._stream.place = f"after '{name}'"
        yield from self._links.finish()

    def _next(self) -> tuple[CpioHeader, bytes] | None:
        """The next header and its name; None at the trailer."""
        header = self._header()
        if not 0 < header.name_bytes <= PATH_BYTES_MAX + 1:
            raise self._stream.damaged(f"has a name of {header.name_bytes} bytes")
        raw_name = self._stream.read_exactly(header.name_bytes)
        self._stream.skip(0, -(HEADER_BYTES + header.name_bytes) % ALIGNMENT)
        if raw_name[-1]:
            raise self._stream.damaged("has a name without an end")
        if raw_name[:-1] == _TRAILER:
            return None
        return header, raw_name[:-1]

    def _header(self) -> CpioHeader:
        block = self._stream.read_exactly(HEADER_BYTES)
        try:
            return parse_header(block)
        except FormatError as err:
            if err.hint:
                raise SourceError(f"'{self._stream.written}' {err.brief}", hint=err.hint) from err
            raise self._stream.damaged(err.brief) from err

    def _member(self, header: CpioHeader, raw_name: bytes) -> Iterator[Entry]:
        path = tree_path(raw_name)
        type_ = TYPES.get(stat.S_IFMT(header.mode))
        if type_ is None:
            raise FormatError(f"is of the unknown type '{stat.S_IFMT(header.mode):o}'")
        if not path and type_ is not EntryType.DIRECTORY:
            raise FormatError(f"is the top of the tree and a {type_.value}")
        target = self._target(header) if type_ is EntryType.SYMLINK else ""
        content = self._content(header, 0 if type_ is EntryType.SYMLINK else header.size_bytes)
        entry = _entry(header, path, type_, target, content)
        if header.links > 1 and type_ not in _NEVER_LINKED:
            self._stream.spend(ENTRY_BYTES)  # names that wait are held in memory
            yield from _finishing(self._links.add((header.device, header.inode, type_), entry), content)
        else:
            self._links.forget(path)
            yield entry
        if not content.closed:
            content.finish()

    def _target(self, header: CpioHeader) -> str:
        if header.size_bytes > SYMLINK_BYTES_MAX:
            raise FormatError(f"is a symlink whose text has more than {SYMLINK_BYTES_MAX} bytes")
        text = symlink_text(self._stream.read_exactly(header.size_bytes).rstrip(b"\0"))
        self._stream.skip(0, -header.size_bytes % ALIGNMENT)
        return text

    def _content(self, header: CpioHeader, size_bytes: int) -> MemberContent:
        if header.checksum is None or not size_bytes:
            return MemberContent(self._stream, size_bytes, ALIGNMENT)
        return _SummedContent(self._stream, size_bytes, header.checksum)


def _finishing(entries: Iterator[Entry], content: MemberContent) -> Iterator[Entry]:
    """The entries of a member; its content ends before those of its other names come."""
    for entry in entries:
        if entry.type is EntryType.HARD_LINK and not content.closed:
            content.finish()
        yield entry


class _SummedContent(MemberContent):
    """The content of a member whose header has the sum of its bytes; compared where all of it is read."""

    def __init__(self, stream: CpioStream, size: int, wanted: int) -> None:
        super().__init__(stream, size, ALIGNMENT)
        self._archive = stream
        self._wanted = wanted
        self._sum = 0

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._sum = (self._sum + sum(data)) & 0xFFFFFFFF
        if data and not self._left and self._sum != self._wanted:
            raise self._archive.damaged("has content with another sum than its header says")
        return data


def _entry(header: CpioHeader, path: str, type_: EntryType, target: str, content: MemberContent) -> Entry:
    is_file = type_ is EntryType.FILE
    return Entry(
        path,
        type_,
        mode=SYMLINK_MODE if type_ is EntryType.SYMLINK else stat.S_IMODE(header.mode),
        uid=_id(header.uid),
        gid=_id(header.gid),
        mtime_ns=header.mtime_s * 10**9,
        size_bytes=header.size_bytes if is_file else 0,
        target=target,
        device=_device(header) if type_ in _DEVICES else (0, 0),
        content=content.as_file() if is_file else None,
    )


def _id(value: int) -> int:
    if value > ID_MAX:
        raise FormatError(f"has an owner that no filesystem holds: {value}")
    return value


def _device(header: CpioHeader) -> tuple[int, int]:
    major, minor = header.own_device
    if major > MAJOR_MAX or minor > MINOR_MAX:
        raise FormatError(f"has a device number that Linux does not hold: {major}, {minor}")
    return major, minor
