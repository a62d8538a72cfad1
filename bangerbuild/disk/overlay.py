"""A disk made of a read-only base image and a file that holds the chunks that differ from it.

Where the file keeps which chunk is the business of its format: `snapshot_store` for dm-snapshot exception
stores, `qcow2_store` for qcow2. All else is here.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, cast

from typing_extensions import override

from bangerbuild.disk.blocks import Blocks, RawFile, check_end, chunked, read_layered
from bangerbuild.errors import OtherBaseError, OverlayError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.disk.chunk_map import ChunkMap

ZEROS = (1 << 64) - 1
"""The slot of a chunk that is all zeros and takes no place in the file."""
PENDING_LIMIT_BYTES = 32 << 20
_PIECE_CHUNKS = 256


class OverlayStore(Closing, Blocks, ABC):
    """A file over its base: a chunk that is not in the file is read from the base; writes go to the file.

    Writes are kept in memory until `commit`, or until there are too many. The file is changed in place, and
    never grows beyond the size it was opened with; for the disk of an existing VM, the caller passes a
    `Transaction`. The base is only read.

    Args:
        base: the disk under the file, which the caller closes.
        file: an existing file, which a guest may have written to: its path, or an open file, which the caller
            closes.
        writable: whether the file may be changed.
        durable: whether `commit` waits for the disk; False if the caller syncs many files at once.
        base_name: the name of the base, compared with the one in the file if that has one.

    Raises:
        OverlayError: it is no such file, is unusable, or was made on another base.
    """

    grows: ClassVar[bool]
    """Whether the file ends with its last used chunk, instead of having a size that is its capacity."""

    def __init__(
        self,
        base: Blocks,
        file: Path | str | Blocks,
        *,
        writable: bool = False,
        durable: bool = True,
        base_name: str = "",
    ) -> None:
        self.base = base
        self.base_name = base_name
        self._own = (
            RawFile(file, writable=writable, durable=durable) if isinstance(file, str | Path) else None
        )
        self._file: Blocks = self._own or cast("Blocks", file)
        self.name = self._file.name
        self.place: str | None = None
        self.writable = self._file.writable
        self._pending: dict[int, bytes] = {}
        self._kept: set[int] = set()
        self.started_with: Mapping[int, bytes] | None = None
        self.size_bytes = base.size_bytes
        self.chunk_bytes: int
        self._fresh = array("Q")
        """Chunks that the metadata in the file does not name yet, in the order of their slots."""
        self._slots: ChunkMap
        """Where the file keeps a chunk, in chunks from its beginning; or `ZEROS`."""
        self._next_free: int
        """The first chunk of the file that no other lies behind."""
        try:
            self._read_metadata()
        except BaseException:
            self.close()
            raise

    @classmethod
    @abstractmethod
    def create(cls, base: Blocks, path: Path, *, base_name: str, durable: bool) -> Self:
        """Make an empty file at a path at which nothing is yet, with room for every chunk of its base."""

    @abstractmethod
    def _read_metadata(self) -> None:
        """Read and check where the file keeps which chunk.

        Sets `chunk_bytes`, `_slots`, `_next_free`, and `size_bytes` where it is not the base's.
        """

    @abstractmethod
    def _free_slots(self, count: int) -> list[int]:
        """Slots that are to be used next, ascending.

        Raises:
            OverlayError: there are not as many.
        """

    @abstractmethod
    def _write_metadata(self, fresh: array[int]) -> None:
        """Write where the chunks of `fresh` are, all of which are new in `_slots`."""

    @property
    @abstractmethod
    def least_bytes(self) -> int:
        """The size of the smallest file for this content."""

    @abstractmethod
    def is_unused(self, chunk: int) -> bool:
        """Whether nothing refers to a chunk of the file, so that it may be overwritten."""

    def _refuse_other_base(self, marked: str | None) -> None:
        """Refuse a file of another base: together they are no filesystem, and a write would destroy data."""
        if self.base_name and marked and marked != self.base_name:
            raise OtherBaseError.of(self.name, marked, self.base_name)

    def start_with(self, chunks: Mapping[int, bytes]) -> None:
        """Put chunks into an empty file, as if they had been written; the bytes are shared, not copied.

        Raises:
            ValueError: the file is not empty, or the chunks are of another size.
        """
        if self.changed_count or any(len(data) != self.chunk_bytes for data in chunks.values()):
            raise ValueError("only an empty file can start with chunks, and only with chunks of its size")
        self._pending.update(chunks)
        self.started_with = chunks

    def resize(self, size_bytes: int) -> None:
        """Make the disk larger; what is new is zeros. The file says so from the next `commit` on.

        Raises:
            ValueError: files of this format can't be larger than their base.
        """
        if size_bytes != self.size_bytes:
            raise ValueError("such a disk is as large as its base")

    def keep(self, offset: int, length: int) -> None:
        """Keep the chunks of this range in the file, even if they equal those of the base."""
        self._kept.update(range(offset // self.chunk_bytes, -(-(offset + length) // self.chunk_bytes)))

    def packed(self) -> bytes:
        """The bytes of the file up to its last used chunk; it was made here and committed."""
        return self._file.read(0, self._next_free * self.chunk_bytes)

    @property
    def used_bytes(self) -> int:
        """The bytes of the file up to its last used chunk."""
        return self._next_free * self.chunk_bytes

    def placed(self, offset: int, length: int) -> list[slice]:
        """The places, in the file, of a range of the disk that is in the file."""
        pieces, end = [], offset + length
        while offset < end:
            chunk, within = divmod(offset, self.chunk_bytes)
            taken = min(end - offset, self.chunk_bytes - within)
            start = self._slots[chunk] * self.chunk_bytes + within
            pieces.append(slice(start, start + taken))
            offset += taken
        return pieces

    @property
    def changed_count(self) -> int:
        """The number of chunks that differ from the base, uncommitted ones included."""
        return len(self._slots) + sum(chunk not in self._slots for chunk in self._pending)

    def changed_chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk in the file with its bytes, ascending."""
        new = sorted(chunk for chunk in self._pending if chunk not in self._slots)
        for chunk in heapq.merge(self._slots, new):
            yield chunk, self._chunk(chunk)

    @override
    def read(self, offset: int, length: int) -> bytes:
        return read_layered(offset, length, self.chunk_bytes, self._own_chunk, self._below)

    def _below(self, offset: int, length: int) -> bytes:
        """Bytes of the base, and zeros where the disk is larger."""
        there = max(0, min(length, self.base.size_bytes - offset))
        data = self.base.read(offset, there) if there else b""
        return data if there == length else data.ljust(length, b"\0")

    def _own_chunk(self, chunk: int) -> bytes | None:
        return self._chunk(chunk) if chunk in self._pending or chunk in self._slots else None

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Writes beyond a limit go to the file; its metadata does not name them until `commit`."""
        check_end(self, offset, len(data))
        for chunk, within, piece in chunked(offset, data, self.chunk_bytes):
            if len(piece) < self.chunk_bytes:
                old = self._chunk(chunk)
                piece = old[:within] + piece + old[within + len(piece) :]  # noqa: PLW2901
            self._pending[chunk] = bytes(piece)
        if len(self._pending) * self.chunk_bytes > PENDING_LIMIT_BYTES:
            self._place_pending()

    @override
    def flush(self) -> None:
        self.commit()

    def commit(self) -> None:
        """Write pending chunks, then where they are; the same writes always give the same bytes.

        Raises:
            OverlayError: the file is full; its metadata is as it was.
        """
        if not self.writable:
            return
        self._place_pending()
        self._write_metadata(self._fresh)
        self._file.flush()
        self._fresh = array("Q")

    def _place_pending(self) -> None:
        changed = [chunk for chunk in sorted(self._pending) if not self._is_as_base(chunk)]
        fresh = [chunk for chunk in changed if self._slots.get(chunk, ZEROS) == ZEROS]
        for chunk, slot in zip(fresh, self._free_slots(len(fresh)), strict=True):
            self._slots[chunk] = slot
            self._next_free = slot + 1
        self._fresh.extend(fresh)
        self._write_data(changed)
        self._pending.clear()

    def _write_data(self, chunks: list[int]) -> None:
        """Write chunks to their slots, adjacent ones together."""
        size = self.chunk_bytes
        start = 0
        for i in range(1, len(chunks) + 1):
            run = i - start
            if (
                i < len(chunks)
                and run < _PIECE_CHUNKS
                and self._slots[chunks[i]] == self._slots[chunks[start]] + run
            ):
                continue
            data = b"".join(self._pending[chunk] for chunk in chunks[start:i])
            self._put(data, self._slots[chunks[start]] * size)
            start = i

    def _put(self, data: bytes, offset: int) -> None:
        self._file.write(offset, data)

    def _is_as_base(self, chunk: int) -> bool:
        if chunk in self._slots or chunk in self._kept:
            return False
        return self._base_chunk(chunk) == self._pending[chunk]

    def _chunk(self, chunk: int) -> bytes:
        if (pending := self._pending.get(chunk)) is not None:
            return pending
        slot = self._slots.get(chunk)
        if slot is None:
            return self._base_chunk(chunk)
        return bytes(self.chunk_bytes) if slot == ZEROS else self._read_slot(slot)

    def _base_chunk(self, chunk: int) -> bytes:
        return self._below(chunk * self.chunk_bytes, self.chunk_bytes)

    def _read_slot(self, slot: int) -> bytes:
        if (slot + 1) * self.chunk_bytes > self._file.size_bytes:
            raise OverlayError(
                f"'{self.name}' is cut short: chunk {slot} is missing",
                hint="put the file back from where there is a copy, or make it anew with --replace",
            )
        return self._file.read(slot * self.chunk_bytes, self.chunk_bytes)

    @override
    def close(self) -> None:
        """Discard what was not committed, and close the file if it was opened here."""
        if self._own:
            self._own.close()
