from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.chunk_map import ChunkMap

numbers = st.one_of(st.integers(0, 300), st.integers(0, 1 << 62))


@given(st.lists(st.tuples(numbers, st.integers(1, (1 << 64) - 1))))
def test_it_is_a_dict_in_ascending_order(pairs: list[tuple[int, int]]) -> None:
    chunks = ChunkMap()
    for chunk, place in pairs:
        chunks[chunk] = place
    assert list(chunks.items()) == sorted(dict(pairs).items())
    assert len(chunks) == len(dict(pairs))
    assert chunks == dict(pairs)


@given(st.lists(numbers), numbers)
def test_what_was_not_put_in_is_not_there(put: list[int], asked: int) -> None:
    chunks = ChunkMap()
    for chunk in put:
        chunks[chunk] = 1
    assert (asked in chunks) == (asked in put)
    assert chunks.get(asked, 7) == (1 if asked in put else 7)


def test_a_chunk_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="5"):
        ChunkMap()[5]


def test_only_numbers_are_looked_for() -> None:
    asked: object = "5"
    assert asked not in ChunkMap()


def test_a_million_neighbours_take_some_ten_megabytes() -> None:
    tracemalloc.start()
    try:
        chunks = ChunkMap()
        for chunk in range(1 << 20):
            chunks[chunk] = chunk + 1
        assert tracemalloc.get_traced_memory()[0] < 15 << 20
    finally:
        tracemalloc.stop()
