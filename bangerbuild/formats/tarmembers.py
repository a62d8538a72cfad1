"""The members of a tarball: each header combined with the extended headers before it.

An archive without its end mark is refused, since its last members may be missing; unless a digest of the
whole archive was verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats import pax, signatures
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import text_of
from bangerbuild.formats.tarheader import BLOCK_BYTES, ZERO_BLOCK, TarHeader, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.formats.tarstream import TarStream

_NUMBER_MAX = (1 << 63) - 1
_EXTENSION_BYTES_MAX = 16 << 20
"""The limit for the extended headers of one member, and for the global ones: they are held in memory."""
_PAX, _PAX_OF_SOLARIS, _PAX_GLOBAL = b"x", b"X", b"g"
_VOLUME = b"V"
_LONG_FIELDS = {b"L": b"path", b"K": b"linkpath"}
_REPEATED_KEYS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


@dataclass
class Extensions:
    """The extended headers of one member, GNU's long names included."""

    records: dict[bytes, bytes]
    """By key; the last record of a key counts, and an empty value cancels the header's."""
    sparse_pairs: list[bytes] = field(default_factory=list)
    """The values of repeated records (sparse format 0.0): offset, length, offset, …"""

    def take(self, data: bytes) -> None:
        """Add the records of one pax header; FormatError if it is damaged."""
        for key, value in pax.parse_records(data):
            self.records[key] = value
            if key in _REPEATED_KEYS:
                self.sparse_pairs.append(value)


@dataclass
class Member:
    """One member; the stream is at the start of its data."""

    header: TarHeader
    block: bytes
    extensions: Extensions
    raw_name: bytes = field(init=False)
    """The name in the archive, unchanged."""
    name: str = field(init=False)
    """The name as messages show it."""

    def __post_init__(self) -> None:
        records = self.records
        self.raw_name = records.get(b"GNU.sparse.name") or records.get(b"path") or self.header.name
        self.name = text_of(self.raw_name)

    @property
    def records(self) -> dict[bytes, bytes]:
        """The pax records that apply to it."""
        return self.extensions.records

    def number(self, key: bytes, otherwise: int, what: str) -> int:
        """The number in a record, or `otherwise`, the header's.

        FormatError if it is damaged or out of range.
        """
        value = self.records.get(key)
        found = pax.number(value, what) if value else otherwise
        if not 0 <= found <= _NUMBER_MAX:
            raise FormatError(f"has a damaged {what}: {found}")
        return found


def read_members(stream: TarStream) -> Iterator[Member]:
    """All members up to the end mark. The caller reads or skips each one's data, with its padding.

    Raises:
        SourceError: it is no tarball, is damaged, or has no end mark.
    """
    reader = _MemberReader(stream)
    while member := reader.next_member():
        yield member


class _MemberReader:
    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._globals: dict[bytes, bytes] = {}
        self._extension_bytes = 0
        """The size of the extended headers of the next member."""
        self._global_bytes = 0
        self._is_first = True

    def next_member(self) -> Member | None:
        extensions = Extensions(dict(self._globals))
        is_extended = False
        self._extension_bytes = 0
        while block := self._header_block():
            header = self._parsed(block)
            if not self._is_extension(header, extensions):
                return Member(header, block, extensions)
            is_extended = True
        if is_extended:
            raise self._stream.damaged("has an extended header and no entry for it")
        return None

    def _header_block(self) -> bytes | None:
        """The next header; None at the end mark: two blocks of zeros, or one at the end of the file."""
        block = self._stream.read_some(BLOCK_BYTES)
        if self._stream.is_whole and not block:
            return None
        if self._is_first and self._is_none(block):
            raise self._no_tarball(block)
        if not block:
            error = self._stream.cut()
            raise SourceError(f"{error.brief} and without its end mark", hint=error.hint)
        if len(block) < BLOCK_BYTES:
            raise self._stream.cut()
        if block != ZERO_BLOCK:
            return block
        if self._stream.read_some(BLOCK_BYTES) not in {b"", ZERO_BLOCK}:
            raise self._stream.damaged("goes on after a block of zeros")
        return None

    def _is_none(self, block: bytes) -> bool:
        """Whether the first block shows that this is no tarball, or an empty one."""
        return len(block) < BLOCK_BYTES or (block == ZERO_BLOCK and not self._stream.is_whole)

    def _parsed(self, block: bytes) -> TarHeader:
        try:
            header = parse_header(block)
        except FormatError as err:
            if self._is_first:
                raise self._no_tarball(block) from err
            raise self._stream.damaged(err.brief) from err
        self._is_first = False
        return header

    def _is_extension(self, header: TarHeader, extensions: Extensions) -> bool:
        """Whether it is an extended header.

        Its records are then added to `extensions` or to the global ones.
        """
        if header.type in _LONG_FIELDS:
            extensions.records[_LONG_FIELDS[header.type]] = self._payload(header).split(b"\0", 1)[0]
        elif header.type in {_PAX, _PAX_OF_SOLARIS}:
            self._take_records(header, extensions)
        elif header.type == _VOLUME:  # what `tar --label` wrote
            self._payload(header)
        elif header.type == _PAX_GLOBAL:
            found = Extensions({})
            self._take_records(header, found)
            self._globals |= found.records
            extensions.records |= found.records
        else:
            return False
        return True

    def _payload(self, header: TarHeader) -> bytes:
        if header.size_bytes < 0:
            raise self._stream.damaged(f"has an extended header of {header.size_bytes} bytes")
        if header.type == _PAX_GLOBAL:
            held = self._global_bytes = self._global_bytes + header.size_bytes
        else:
            held = self._extension_bytes = self._extension_bytes + header.size_bytes
        if held > _EXTENSION_BYTES_MAX:
            raise self._stream.damaged(f"has extended headers of {held} bytes")
        data = self._stream.read_exactly(header.size_bytes)
        self._stream.skip(-header.size_bytes % BLOCK_BYTES)
        return data

    def _take_records(self, header: TarHeader, extensions: Extensions) -> None:
        data = self._payload(header)
        try:
            extensions.take(data)
        except FormatError as err:
            raise self._stream.damaged(err.brief) from err

    def _no_tarball(self, block: bytes) -> SourceError:
        stream = self._stream
        if block.startswith(b"ustar", 257):
            return stream.cut() if len(block) < BLOCK_BYTES else stream.damaged("has a damaged header")
        head = block + stream.read_some(signatures.HEAD_BYTES - BLOCK_BYTES)
        inside = signatures.inside(stream.compression)
        if not head:
            return SourceError(f"'{stream.written}' is empty{inside}")
        if found := signatures.identify(head) or signatures.named(stream.written):
            hint = found.way_out_of(stream.compression)
            return SourceError(f"'{stream.written}' is no tarball but {found.what}{inside}", hint=hint)
        nothing = "holds no entries" if head.count(0) == len(head) else "is no tarball"
        return SourceError(f"'{stream.written}' {nothing}{inside}")
