"""A mapping from chunk to place (int to int) that needs little memory for runs of adjacent chunks."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE_CHUNKS = 64


class ChunkMap(Mapping[int, int]):
    """Places from 1 to 2^64 - 1 by chunk, iterated in ascending order; entries can't be removed.

    A dict needs about 100 bytes per entry, this class about 10 where chunks are adjacent.
    """

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}
        self._count = 0

    def __setitem__(self, chunk: int, place: int) -> None:
        number, within = divmod(chunk, _PAGE_CHUNKS)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = array("Q", bytes(8 * _PAGE_CHUNKS))
        self._count += not page[within]
        page[within] = place

    def __getitem__(self, chunk: int) -> int:
        number, within = divmod(chunk, _PAGE_CHUNKS)
        page = self._pages.get(number)
        place = page[within] if page is not None else 0
        if not place:
            raise KeyError(chunk)
        return place

    def __contains__(self, chunk: object) -> bool:
        number, within = divmod(chunk, _PAGE_CHUNKS) if isinstance(chunk, int) else (-1, 0)
        page = self._pages.get(number)
        return page is not None and page[within] != 0

    def __iter__(self) -> Iterator[int]:
        for number in sorted(self._pages):
            page = self._pages[number]
            yield from (number * _PAGE_CHUNKS + i for i in range(_PAGE_CHUNKS) if page[i])

    def __len__(self) -> int:
        return self._count
