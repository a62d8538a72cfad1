"""A disk made of a base image and a dm-snapshot exception store; `snapshot` has the format of the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import snapshot
from bangerbuild.disk.overlay import OverlayStore
from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from array import array
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks


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
        raise OverlayError(f"a store of {capacity} bytes holds nothing; it takes {least} at the least")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise OverlayError(f"cannot open '{path}': {err.strerror}") from err
    try:
        os.pwrite(fd, snapshot.pack_header(chunk_bytes, base_name), 0)
        os.ftruncate(fd, capacity)
    except OSError as err:
        raise OverlayError(f"cannot write '{path}': {err.strerror}") from err
    finally:
        os.close(fd)


class SnapshotStore(OverlayStore):
    """An exception store over its base. A kernel may have written to it."""

    grows: ClassVar[bool] = False

    @classmethod
    @override
    def create(  # what is made, where and how, each by its name
        cls,
        base: Blocks,
        path: Path | str,
        *,
        base_name: str = "",
        durable: bool = True,
        capacity_bytes: int | None = None,
        chunk_bytes: int = snapshot.DEFAULT_CHUNK_BYTES,
    ) -> Self:
        """Make a new, empty, sparse store file and open it for writing.

        Args:
            base: the disk under the store.
            path: must not exist yet.
            base_name: identifies the base, also after files are moved; written as a mark into the store.
            durable: see the class.
            capacity_bytes: the file's size; None: space for all chunks of the base.
            chunk_bytes: the kernel's chunk size.

        Raises:
            OverlayError: it can't be made, or is too small for a single chunk.
        """
        make_file(
            path,
            base.size_bytes,
            capacity_bytes=capacity_bytes,
            chunk_bytes=chunk_bytes,
            base_name=base_name,
        )
        return cls(base, path, writable=True, durable=durable, base_name=base_name)

    @override
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

    @override
    def is_unused(self, chunk: int) -> bool:
        return chunk >= self._first_unused and not self._layout.is_metadata(chunk)

    @property
    @override
    def least_bytes(self) -> int:
        return self._layout.chunks_for(len(self._slots)) * self.chunk_bytes

    @override
    def _free_slots(self, count: int) -> list[int]:
        slots, slot = [], self._next_free
        for _ in range(count):
            slot = self._layout.next_data_chunk(slot)
            slots.append(slot)
            slot += 1
        needed = self._layout.chunks_for(len(self._slots) + count)
        if needed > self._capacity_chunks or (slots and slots[-1] >= self._capacity_chunks):
            raise OverlayError(
                f"'{self.name}' is full: its {self._capacity_chunks * self.chunk_bytes} bytes are too few, "
                f"at least {needed * self.chunk_bytes} are needed",
                hint="give the store a larger size",
            )
        return slots

    @override
    def _write_metadata(self, fresh: array[int]) -> None:
        index, per_area = len(self._slots) - len(fresh), self._layout.pairs_per_area
        at = 0
        while at < len(fresh):
            within = index % per_area
            here = fresh[at : at + per_area - within]
            data = snapshot.pack_pairs((chunk, self._slots[chunk]) for chunk in here)
            if within == 0:  # a new area: zero it, no old bytes may follow its pairs
                data = data.ljust(self.chunk_bytes, b"\0")
            self._put(data, self._layout.pair_offset(index))
            index, at = index + len(here), at + len(here)
        if fresh and index % per_area == 0:
            area = self._layout.area_chunk(index // per_area)
            if any(self._read_slot(area)):
                self._put(bytes(self.chunk_bytes), area * self.chunk_bytes)
