"""A disk made of a read-only base image and a dm-snapshot exception store, which has the changed chunks.

This is the root disk of a VM. `snapshot` has the format of the store.
"""

from __future__ import annotations

import heapq
import os
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from typing_extensions import override

from bangerbuild.disk import snapshot
from bangerbuild.disk.blocks import Blocks, RawFile, check_end, chunked, read_layered
from bangerbuild.errors import OtherBaseError, SnapshotError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


PENDING_LIMIT_BYTES = 32 << 20
_PIECE_CHUNKS = 256


def make_file(
    path: Path | str,
    base_bytes: int,
    *,
    capacity_bytes: int | None = None,
    chunk_bytes: int = snapshot.DEFAULT_CHUNK_BYTES,
    base_name: str = "",
) -> None:
    """Make the file of an empty store; see `SnapshotStore.create`."""
    capacity = capacity_bytes or snapshot.capacity_for(base_bytes, chunk_bytes)
    least = snapshot.minimal_capacity(chunk_bytes)
    if capacity < least:
        raise SnapshotError(f"a store of {capacity} bytes holds nothing; it takes {least} at the least")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise SnapshotError(f"cannot open '{path}': {err.strerror}") from err
    try:
        os.pwrite(fd, snapshot.pack_header(chunk_bytes, base_name), 0)
        os.ftruncate(fd, capacity)
    except OSError as err:
        raise SnapshotError(f"cannot write '{path}': {err.strerror}") from err
    finally:
        os.close(fd)


class SnapshotStore(Closing, Blocks):
    """A store over its base: a chunk that is not in the store is read from the base; writes go to the store.

    Writes are kept in memory until `commit`, or until there are too many. The store file is changed in place;
    for the disk of an existing VM, the caller passes a `Transaction`. The base is only read.

    Args:
        base: the disk under the store, which the caller closes. file: an existing store, which a kernel may
        have written to: its path, or an open file, which the caller
            closes.
        writable: whether the store may be changed.
        durable: whether `commit` waits for the disk; False if the caller syncs many files at once.
        base_name: the name of the base, compared with the mark in the store if there is one.

    Raises:
        SnapshotError: it is no store, is unusable, or was made on another base.
    """

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
        try:
            self._read_metadata()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(  # noqa: PLR0913  # what is made, where and how, each by its name
        cls,
        base: Blocks,
        path: Path | str,
        *,
        capacity_bytes: int | None = None,
        chunk_bytes: int = snapshot.DEFAULT_CHUNK_BYTES,
        durable: bool = True,
        base_name: str = "",
    ) -> Self:
        """Make a new, empty, sparse store file and open it for writing.

        Args:
            base: the disk under the store.
            path: must not exist yet.
            capacity_bytes: the file's size; None: space for all chunks of the base.
            chunk_bytes: the kernel's chunk size.
            durable: see the class.
            base_name: identifies the base, also after files are moved; written as a mark into the store.

        Raises:
            SnapshotError: it can't be made, or is too small for a single chunk.
        """
        make_file(
            path,
            base.size_bytes,
            capacity_bytes=capacity_bytes,
            chunk_bytes=chunk_bytes,
            base_name=base_name,
        )
        return cls(base, path, writable=True, durable=durable, base_name=base_name)

    def _read_metadata(self) -> None:
        head = self._file.read(0, min(snapshot.HEAD_BYTES, self._file.size_bytes))
        self._layout = snapshot.parse_header(head, self.name)
        self._refuse_other_base(snapshot.parse_mark(head))
        self.chunk_bytes = self._layout.chunk_bytes
        self._capacity_chunks = self._file.size_bytes // self.chunk_bytes
        found = snapshot.parse_exceptions(
            self._layout,
            self._read_slot,
            self._capacity_chunks,
            -(-self.size_bytes // self.chunk_bytes),
            self.name,
        )
        self._slots = found.chunks
        self._next_free = self._first_unused = found.next_free
        self._fresh = array("Q")
        """Chunks whose pairs are not written yet, in the order of their slots."""

    def _refuse_other_base(self, marked: str | None) -> None:
        """Refuse a store of another base: together they are no filesystem, and a write would destroy data."""
        if self.base_name and marked and marked != self.base_name:
            raise OtherBaseError.of(self.name, marked, self.base_name)

    def is_unused(self, chunk: int) -> bool:
        """Whether no pair refers to a chunk of the store's file, so that it may be overwritten."""
        return chunk >= self._first_unused and not self._layout.is_metadata(chunk)

    def start_with(self, chunks: Mapping[int, bytes]) -> None:
        """Put chunks into an empty store, as if they had been written; the bytes are shared, not copied.

        Raises:
            ValueError: the store is not empty, or the chunks are of another size.
        """
        if self.exceptions or any(len(data) != self.chunk_bytes for data in chunks.values()):
            raise ValueError("only an empty store can start with chunks, and only with chunks of its size")
        self._pending.update(chunks)
        self.started_with = chunks

    def keep(self, offset: int, length: int) -> None:
        """Keep the chunks of this range in the store, even if they equal those of the base."""
        self._kept.update(range(offset // self.chunk_bytes, -(-(offset + length) // self.chunk_bytes)))

    def packed(self) -> bytes:
        """The bytes of the store's file up to its last used chunk; the store was made here and committed."""
        return self._file.read(0, self._next_free * self.chunk_bytes)

    @property
    def least_bytes(self) -> int:
        """The size of the smallest file for this content."""
        return self._layout.chunks_for(len(self._slots)) * self.chunk_bytes

    def placed(self, offset: int, length: int) -> list[slice]:
        """The places, in the store's file, of a range of the disk that is in the store."""
        pieces, end = [], offset + length
        while offset < end:
            chunk, within = divmod(offset, self.chunk_bytes)
            taken = min(end - offset, self.chunk_bytes - within)
            start = self._slots[chunk] * self.chunk_bytes + within
            pieces.append(slice(start, start + taken))
            offset += taken
        return pieces

    @property
    def exceptions(self) -> int:
        """The number of chunks that differ from the base, uncommitted ones included."""
        return len(self._slots) + sum(chunk not in self._slots for chunk in self._pending)

    def changed_chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each chunk in the store with its bytes, ascending."""
        new = sorted(chunk for chunk in self._pending if chunk not in self._slots)
        for chunk in heapq.merge(self._slots, new):
            yield chunk, self._chunk(chunk)

    @override
    def read(self, offset: int, length: int) -> bytes:
        return read_layered(offset, length, self.chunk_bytes, self._own_chunk, self.base.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        return self._chunk(chunk) if chunk in self._pending or chunk in self._slots else None

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Writes beyond a limit go to the store's file, but have no pairs until `commit`."""
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
        """Write pending chunks, then their pairs; the same writes always give the same bytes.

        Raises:
            SnapshotError: the store is full; no new pair is written.
        """
        if not self.writable:
            return
        self._place_pending()
        self._write_pairs(self._fresh)
        self._file.flush()
        self._fresh = array("Q")

    def _write_pairs(self, chunks: array[int]) -> None:
        index, per_area = len(self._slots) - len(chunks), self._layout.pairs_per_area
        at = 0
        while at < len(chunks):
            within = index % per_area
            here = chunks[at : at + per_area - within]
            data = snapshot.pack_pairs((chunk, self._slots[chunk]) for chunk in here)
            if within == 0:  # a new area: zero it, no old bytes may follow its pairs
                data = data.ljust(self.chunk_bytes, b"\0")
            self._put(data, self._layout.pair_offset(index))
            index, at = index + len(here), at + len(here)
        if chunks and index % per_area == 0:
            area = self._layout.area_chunk(index // per_area)
            if any(self._read_slot(area)):
                self._put(bytes(self.chunk_bytes), area * self.chunk_bytes)

    def _place_pending(self) -> None:
        changed = [chunk for chunk in sorted(self._pending) if not self._is_as_base(chunk)]
        fresh = [chunk for chunk in changed if chunk not in self._slots]
        needed = self._layout.chunks_for(len(self._slots) + len(fresh))
        slots = self._free_slots(len(fresh))
        if needed > self._capacity_chunks or (slots and slots[-1] >= self._capacity_chunks):
            raise SnapshotError(
                f"'{self.name}' is full: its {self._capacity_chunks * self.chunk_bytes} bytes are too few, "
                f"at least {needed * self.chunk_bytes} are needed",
                hint="give the store a larger size",
            )
        for chunk, slot in zip(fresh, slots, strict=True):
            self._slots[chunk] = slot
        self._fresh.extend(fresh)
        self._write_data(changed)
        self._next_free = self._layout.next_data_chunk(slots[-1] + 1) if slots else self._next_free
        self._pending.clear()

    def _free_slots(self, count: int) -> list[int]:
        slots, slot = [], self._next_free
        for _ in range(count):
            slot = self._layout.next_data_chunk(slot)
            slots.append(slot)
            slot += 1
        return slots

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
        return self._base_chunk(chunk) if slot is None else self._read_slot(slot)

    def _base_chunk(self, chunk: int) -> bytes:
        offset = chunk * self.chunk_bytes
        length = min(self.chunk_bytes, self.size_bytes - offset)
        return self.base.read(offset, length).ljust(self.chunk_bytes, b"\0")

    def _read_slot(self, slot: int) -> bytes:
        if (slot + 1) * self.chunk_bytes > self._file.size_bytes:
            raise SnapshotError(
                f"'{self.name}' is cut short: chunk {slot} is missing",
                hint="put the file back from where there is a copy, or make it anew with --replace",
            )
        return self._file.read(slot * self.chunk_bytes, self.chunk_bytes)

    @override
    def close(self) -> None:
        """Discard what was not committed, and close the file if it was opened here."""
        if self._own:
            self._own.close()
