"""Directory blocks: names packed in their order, and read back without our packer."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.directory import Name, dots, is_list_of_names, pack_blocks


def unpack(block: bytes) -> list[tuple[bytes, int]]:
    """The names in a directory block, read without our packer."""
    found, at = [], 0
    while at < len(block):
        ino, length = (
            int.from_bytes(block[at : at + 4], "little"),
            int.from_bytes(block[at + 4 : at + 6], "little"),
        )
        assert length % 4 == 0 or length == 65535
        assert length >= 8 + block[at + 6]
        if ino:
            found.append((block[at + 8 : at + 8 + block[at + 6]], ino))
        at += 65536 if length == 65535 else length
    assert at == len(block)
    return found


@given(
    names=st.lists(st.binary(min_size=1, max_size=255), max_size=200),
    block_bytes=st.sampled_from([1024, 4096, 65536]),
    checksum=st.booleans(),
)
def test_all_names_are_in_the_blocks_of_a_directory_in_their_order(
    names: list[bytes],
    block_bytes: int,
    checksum: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    entries = [Name(name, 11 + i, 1) for i, name in enumerate(names)]
    blocks = list(pack_blocks(block_bytes, [*dots(2, 2), *entries], checksum=checksum))
    assert {len(block) for block in blocks} == {block_bytes}
    assert all(block.endswith(b"\0\0\0\0\x0c\0\0\xde\0\0\0\0") for block in blocks) or not checksum
    assert [pair for block in blocks for pair in unpack(block)] == [
        (b".", 2),
        (b"..", 2),
        *((name, 11 + i) for i, name in enumerate(names)),
    ]


def test_a_directory_block_without_names_is_one_free_entry() -> None:
    assert unpack(next(pack_blocks(65536, [], checksum=False))) == []


def entries(*lengths: int, ino: int = 12, name: bytes = b"abc") -> bytes:
    """Entries of these lengths, one behind the other."""
    packed = (struct.pack("<IHBB", ino, length, len(name), 1) + name for length in lengths)
    return b"".join(entry.ljust(length, b"\0") for entry, length in zip(packed, lengths, strict=True))


@pytest.mark.parametrize(
    ("data", "is_list"),
    [
        (entries(12, 500, 512), True),
        (entries(12, 1012, ino=0, name=b""), True),
        (entries(12, 1000).ljust(1024, b"\0"), False),  # 12 bytes that are no entry
        (entries(12, 1004).ljust(1024, b"\0"), False),  # 8 bytes that are no entry
        (entries(12, 1008).ljust(1024, b"\0"), False),
        (entries(13, 1011), False),
        (entries(8, 1016, name=b""), False),
        (entries(12, 1012, name=b""), False),
        (entries(12, 1012, name=b"n" * 5), False),
        (bytes(1024), False),
        (b"\xff" * 1024, False),
    ],
)
def test_a_block_of_names_is_full_of_them_to_its_very_end(data: bytes, *, is_list: bool) -> None:
    assert is_list_of_names(data) == is_list


@pytest.mark.parametrize("stated", [0, 65535])
def test_the_one_length_that_does_not_fit_in_16_bits_is_known(stated: int) -> None:
    data = bytearray(65536)
    struct.pack_into("<IHBB", data, 0, 0, stated, 0, 0)
    assert is_list_of_names(bytes(data))
