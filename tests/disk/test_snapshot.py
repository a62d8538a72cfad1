from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import snapshot
from bangerbuild.disk.snapshot import StoreLayout
from bangerbuild.errors import OverlayError

CHUNK_SIZES = st.sampled_from([512, 1024, 4096, 16384])


def store_bytes(layout: StoreLayout, pairs: list[tuple[int, int]], chunks: int) -> bytearray:
    """A store as the kernel lays it out, written from the format's description alone."""
    per_area = layout.chunk_bytes // 16
    data = bytearray(chunks * layout.chunk_bytes)
    struct.pack_into("<4I", data, 0, 0x70416E53, 1, 1, layout.chunk_bytes // 512)
    for index, (old, new) in enumerate(pairs):
        area, within = divmod(index, per_area)
        struct.pack_into(
            "<2Q", data, (1 + area * (per_area + 1)) * layout.chunk_bytes + within * 16, old, new
        )
    return data


def parse(layout: StoreLayout, data: bytes, base_chunks: int = 1 << 20) -> snapshot.Exceptions:
    size = layout.chunk_bytes
    return snapshot.parse_exceptions(
        layout, lambda n: data[n * size : (n + 1) * size], len(data) // size, base_chunks, "s.cow"
    )


def slots(layout: StoreLayout, count: int) -> list[int]:
    per_area = layout.chunk_bytes // 16
    return [
        1 + area * (per_area + 1) + 1 + i for area in range(count // per_area + 1) for i in range(per_area)
    ][:count]


@given(chunk_bytes=CHUNK_SIZES, count=st.integers(0, 600), data=st.data())
def test_every_exception_of_a_store_is_read_back(chunk_bytes: int, count: int, data: st.DataObject) -> None:
    layout = StoreLayout(chunk_bytes)
    first = data.draw(st.integers(0, 1000))
    pairs = [(first + 3 * i, new) for i, new in enumerate(slots(layout, count))]
    content = bytes(store_bytes(layout, pairs, layout.chunks_for(count)))
    assert snapshot.parse_header(content[:16], "s.cow") == layout
    found = parse(layout, content)
    assert found.chunks == dict(pairs)
    assert not layout.is_metadata(found.next_free)
    assert found.next_free not in dict(pairs).values()


@given(base_bytes=st.integers(1, 1 << 50), chunk_bytes=CHUNK_SIZES)
def test_a_store_of_full_capacity_has_a_place_for_every_chunk_of_its_base(
    base_bytes: int, chunk_bytes: int
) -> None:
    layout = StoreLayout(chunk_bytes)
    chunks = -(-base_bytes // chunk_bytes)
    last_area = chunks // layout.pairs_per_area
    last_slot = (
        layout.area_chunk(last_area) + chunks % layout.pairs_per_area
        if chunks % layout.pairs_per_area
        else layout.area_chunk(last_area)
    )
    assert snapshot.capacity_for(base_bytes, chunk_bytes) == (last_slot + 1) * chunk_bytes


def test_the_header_is_what_the_kernel_expects() -> None:
    assert snapshot.pack_header(4096).hex() == "536e4170010000000100000008000000"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((0x12345678, 1, 1, 8), "is no dm-snapshot store"),
        ((0x70416E53, 0, 1, 8), "the store overflowed or failed, and its data is gone"),
        ((0x70416E53, 1, 2, 8), "of version 2"),
        ((0x70416E53, 1, 1, 12), "a chunk size of 12 sectors"),
        ((0x70416E53, 1, 1, 0), "a chunk size of 0 sectors"),
        ((0x70416E53, 1, 1, 1 << 31), "a chunk size of"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused_in_plain_words(
    fields: tuple[int, ...], message: str
) -> None:
    with pytest.raises(OverlayError, match=message):
        snapshot.parse_header(struct.pack("<4I", *fields), "s.cow")


def test_a_file_shorter_than_a_header_is_no_store() -> None:
    with pytest.raises(OverlayError, match="ends before its header"):
        snapshot.parse_header(b"SnAp", "s.cow")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(0, 1)], "can't lie at chunk 1"),
        ([(0, 258)], "can't lie at chunk 258"),
        ([(0, 100)], "can't lie at chunk 100"),
        ([(99, 2)], "chunk 99 can't lie"),
        ([(0, 2), (1, 2)], "is there twice"),
        ([(0, 2), (0, 3)], "is there twice"),
    ],
)
def test_a_pair_that_points_where_no_data_can_be_is_damage(
    pairs: list[tuple[int, int]], message: str
) -> None:
    data = bytes(store_bytes(StoreLayout(4096), pairs, 50 if pairs != [(0, 258)] else 300))
    with pytest.raises(OverlayError, match=message):
        parse(StoreLayout(4096), data, base_chunks=50)


def test_a_store_that_ends_behind_a_full_area_is_cut_short() -> None:
    layout = StoreLayout(512)
    data = bytes(store_bytes(layout, list(enumerate(slots(layout, 32))), layout.chunks_for(32)))
    parse(layout, data)
    with pytest.raises(OverlayError, match="cut short"):
        parse(layout, data[: -layout.chunk_bytes])


# the mark of a base


@pytest.mark.parametrize("chunk_bytes", [512, 4096])
def test_a_header_may_be_marked_with_the_name_of_its_base(chunk_bytes: int) -> None:
    head = snapshot.pack_header(chunk_bytes, "images/a/f00d/rootfs.ext4").ljust(512, b"\0")
    assert snapshot.parse_mark(head) == "images/a/f00d/rootfs.ext4"
    assert head[:16] == snapshot.pack_header(chunk_bytes)
    assert snapshot.parse_header(head, "a store").chunk_bytes == chunk_bytes


@pytest.mark.parametrize(
    "head",
    [
        snapshot.pack_header().ljust(512, b"\0"),
        snapshot.pack_header(base_name="n" * 487).ljust(512, b"\0"),
        snapshot.pack_header(base_name="a")[:16] + b"bangbase" + b"\xff\xff" + bytes(486),
        snapshot.pack_header(base_name="a"),
    ],
    ids=["none", "a name that is too long", "a length that can't be", "cut short"],
)
def test_a_header_without_a_mark_says_nothing_of_its_base(head: bytes) -> None:
    assert snapshot.parse_mark(head) is None
