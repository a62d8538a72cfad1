"""The on-disk format of a dm-snapshot exception store (persistent, version 1).

A store holds the chunks in which a device differs from its base. All numbers are little-endian, all places
are chunk numbers (source: `drivers/md/dm-snap-persistent.c`):

    chunk 0   header: u32 magic, u32 valid, u32 version, u32 chunk size in sectors;
              a store made by this program also has the mark of its base: 8 bytes "bangbase",
              u16 length of a name, the name
    chunk 1   area 0: pairs of (u64 old_chunk, u64 new_chunk), chunk_bytes / 16 of them
    chunk 2…  the data chunks of area 0, as many as it has pairs; then area 1, and so on

A pair whose new_chunk is 0 ends the list. After a full area the kernel reads the next one, so it must exist
and start with zeros. Of the header the kernel reads only the four numbers; it writes a header only if there
is none, or to mark the store as invalid, which overwrites the mark of the base too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAGIC = 0x70416E53
VERSION = 1
SECTOR_BYTES = 512
DEFAULT_CHUNK_BYTES = 4096
HEADER_BYTES = 16
MAX_CHUNK_SECTORS = 1 << 11
"""1 MiB. LVM uses at most 512 KiB; a larger chunk would be read into memory."""

HEAD_BYTES = 512
"""The size of the header with the mark; no chunk is smaller."""

_HEADER = struct.Struct("<4I")
_MARK = struct.Struct("<8sH")
_MARK_MAGIC = b"bangbase"
_PAIR = struct.Struct("<2Q")


@dataclass(frozen=True)
class StoreLayout:
    """The layout of a store with a given chunk size."""

    chunk_bytes: int = DEFAULT_CHUNK_BYTES

    @property
    def pairs_per_area(self) -> int:
        """How many exceptions one metadata chunk describes."""
        return self.chunk_bytes // _PAIR.size

    def area_chunk(self, area: int) -> int:
        """The metadata chunk of an area, counted from 0."""
        return 1 + area * (self.pairs_per_area + 1)

    def is_metadata(self, chunk: int) -> bool:
        """Whether a chunk holds the header or pairs instead of data."""
        return chunk == 0 or chunk % (self.pairs_per_area + 1) == 1

    def pair_offset(self, index: int) -> int:
        """The byte offset of a pair; `index` counts from 0 over all areas."""
        area, within = divmod(index, self.pairs_per_area)
        return self.area_chunk(area) * self.chunk_bytes + within * _PAIR.size

    def next_data_chunk(self, chunk: int) -> int:
        """The first chunk from this one on that may hold data."""
        while self.is_metadata(chunk):
            chunk += 1
        return chunk

    def chunks_for(self, exceptions: int) -> int:
        """The number of chunks of a store with this many exceptions, with the area after a full one."""
        return 1 + (exceptions // self.pairs_per_area + 1) + exceptions


@dataclass(frozen=True)
class Exceptions:
    """The metadata of a store: which chunks differ, and where they are stored."""

    chunks: ChunkMap
    """old_chunk -> new_chunk."""
    next_free: int
    """The first chunk after all data, which the kernel would use next."""


def capacity_for(base_size_bytes: int, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> int:
    """The size in bytes of a store with space for all chunks of its base, metadata included."""
    chunks = -(-base_size_bytes // chunk_bytes)
    return StoreLayout(chunk_bytes).chunks_for(chunks) * chunk_bytes


def minimal_capacity(chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> int:
    """The smallest size in bytes of a store with space for one exception."""
    return StoreLayout(chunk_bytes).chunks_for(1) * chunk_bytes


def pack_header(chunk_bytes: int = DEFAULT_CHUNK_BYTES, base_name: str = "") -> bytes:
    """The header of a valid, empty store; zeros follow up to the store's size.

    `base_name` identifies the base; if it is empty or too long, there is no mark.
    """
    check_chunk_bytes(chunk_bytes)
    header = _HEADER.pack(MAGIC, 1, VERSION, chunk_bytes // SECTOR_BYTES)
    name = base_name.encode()
    if not name or HEADER_BYTES + _MARK.size + len(name) > HEAD_BYTES:
        return header
    return header + _MARK.pack(_MARK_MAGIC, len(name)) + name


def parse_mark(head: bytes) -> str | None:
    """The name of the base in a store's header; None if it has no mark."""
    if len(head) < HEAD_BYTES:
        return None
    magic, length = _MARK.unpack_from(head, HEADER_BYTES)
    start = HEADER_BYTES + _MARK.size
    if magic != _MARK_MAGIC or start + length > HEAD_BYTES:
        return None
    return head[start : start + length].decode(errors="replace")


def check_chunk_bytes(chunk_bytes: int) -> None:
    """Refuse a chunk size that the kernel refuses: no power of two, or less than a sector."""
    sectors, rest = divmod(chunk_bytes, SECTOR_BYTES)
    if rest or not 0 < sectors <= MAX_CHUNK_SECTORS or sectors & (sectors - 1):
        raise OverlayError(f"a chunk of {chunk_bytes} bytes is no power of two of 512-byte sectors")


def has_magic(data: bytes) -> bool:
    """Whether a file that begins with `data` is a store, valid or not."""
    return int.from_bytes(data[:4], "little") == MAGIC


def _unusable(brief: str) -> OverlayError:
    return OverlayError(
        brief, hint="put the file back from where there is a copy, or make it anew with --replace"
    )


def parse_header(data: bytes, name: str) -> StoreLayout:
    """Read a store's first 16 bytes.

    Args:
        data: the bytes.
        name: what to call the store in a message.

    Raises:
        OverlayError: it is no store, or an invalid one.
    """
    if len(data) < HEADER_BYTES:
        raise _unusable(f"'{name}' is no dm-snapshot store: it ends before its header does")
    magic, valid, version, chunk_sectors = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _unusable(f"'{name}' is no dm-snapshot store: magic {magic:#010x} instead of {MAGIC:#010x}")
    if version != VERSION:
        raise _unusable(f"'{name}' is a dm-snapshot store of version {version}; only 1 is known")
    if not valid:
        raise OverlayError(
            f"'{name}' is marked invalid: the store overflowed or failed, and its data is gone",
            hint="make it anew, larger, with --replace",
        )
    try:
        check_chunk_bytes(chunk_sectors * SECTOR_BYTES)
    except OverlayError as err:
        raise _unusable(f"'{name}' has a chunk size of {chunk_sectors} sectors: not a store") from err
    return StoreLayout(chunk_sectors * SECTOR_BYTES)


def parse_exceptions(
    layout: StoreLayout, read_chunk: Callable[[int], bytes], store_chunks: int, base_chunks: int, name: str
) -> Exceptions:
    """Read and check the pairs of all areas.

    Args:
        layout: the store's layout.
        read_chunk: returns the bytes of one chunk of the store.
        store_chunks: the number of whole chunks in the store.
        base_chunks: the number of chunks in the base, a partial last one included.
        name: the store's name in messages.

    Raises:
        OverlayError: a pair points to a place without data, or two pairs are the same.
    """
    chunks = ChunkMap()
    taken = bytearray(store_chunks // 8 + 1)  # one bit per chunk: a set would need more memory than the pairs
    next_free = layout.next_data_chunk(1)
    for old, new in _pairs(layout, read_chunk, store_chunks, name):
        if layout.is_metadata(new) or new >= store_chunks or old >= base_chunks:
            raise _unusable(f"'{name}' is damaged: chunk {old} can't lie at chunk {new} of {store_chunks}")
        if old in chunks or taken[new >> 3] >> (new & 7) & 1:
            raise _unusable(f"'{name}' is damaged: chunk {old} at chunk {new} is there twice")
        chunks[old] = new
        taken[new >> 3] |= 1 << (new & 7)
        next_free = max(next_free, new + 1)
    return Exceptions(chunks, layout.next_data_chunk(next_free))


def _pairs(
    layout: StoreLayout, read_chunk: Callable[[int], bytes], store_chunks: int, name: str
) -> Iterator[tuple[int, int]]:
    area = 0
    while layout.area_chunk(area) < store_chunks:
        for old, new in _PAIR.iter_unpack(read_chunk(layout.area_chunk(area))):
            if new == 0:
                return
            yield old, new
        area += 1
    raise _unusable(f"'{name}' is cut short: the area behind its last full one is missing")


def pack_pairs(pairs: Iterable[tuple[int, int]]) -> bytes:
    """(old_chunk, new_chunk) pairs as bytes."""
    return b"".join(_PAIR.pack(old, new) for old, new in pairs)
