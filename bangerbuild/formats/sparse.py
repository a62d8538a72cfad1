"""Sparse files in tarballs: the map of their data as (offset, length) pairs, in four formats.

Old GNU: pairs of 12-byte numbers in the header (4 from byte 386) and in blocks after it (21 each, "more"
flag at 504). pax 0.0: repeated `GNU.sparse.offset` and `.numbytes` records. 0.1: one `GNU.sparse.map`.
1.0: decimal lines in front of the data, padded to 512 bytes. See GNU tar's manual, "Storing Sparse Files".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.formats import pax
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.tarheader import BLOCK_BYTES, parse_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Extents = tuple[tuple[int, int], ...]

_HEADER_PAIRS, _BLOCK_PAIRS = 4, 21
PAIRS_MAX = 1 << 19
"""A map is held in memory, and a compressed archive can claim any number of pairs."""


def joined(pairs: Iterable[tuple[int, int]]) -> Extents:
    """The pairs without empty ones and with adjacent ones merged; they must ascend.

    Raises:
        FormatError: they overlap or go back.
    """
    extents: list[tuple[int, int]] = []
    end = 0
    for offset, length in pairs:
        if offset < end or length < 0:
            raise FormatError("has a damaged sparse map")
        if length and extents and offset == sum(extents[-1]):
            extents[-1] = (extents[-1][0], extents[-1][1] + length)
        elif length:
            extents.append((offset, length))
        end = offset + length
    return tuple(extents)


def checked(pairs: Iterable[tuple[int, int]], size_bytes: int, stored_bytes: int) -> Extents:
    """The map of a file of `size_bytes` of which an archive stores `stored_bytes`.

    Raises:
        FormatError: they don't fit together.
    """
    extents = joined(pairs)
    if sum(length for _, length in extents) != stored_bytes or (extents and sum(extents[-1]) > size_bytes):
        raise FormatError("has a sparse map that does not fit its size")
    return extents


def old_gnu_map(header: bytes, read_block: Callable[[], bytes]) -> tuple[int, list[tuple[int, int]]]:
    """(real size, pairs) of a header of type `S`; further blocks are read with `read_block`."""
    pairs = _table(header[386:482], _HEADER_PAIRS)
    has_more = header[482]
    while has_more:
        block = read_block()
        pairs += _table(block, _BLOCK_PAIRS)
        _check_pairs(len(pairs))
        has_more = block[504]
    return parse_number(header[483:495]), pairs


def pax_map(numbers: bytes) -> list[tuple[int, int]]:
    """The pairs of `offset,length,offset,length…`."""
    _check_pairs(numbers.count(b",") // 2)
    values = [pax.number(value, "sparse map") for value in numbers.split(b",")] if numbers else []
    return _paired(values)


def leading_map(stored_bytes: int, read_block: Callable[[], bytes]) -> tuple[int, list[tuple[int, int]]]:
    """(its size in bytes, pairs) of a map before the data; map and data have `stored_bytes` together."""
    lines: list[bytes] = []
    rest = b""
    blocks = 0
    while not lines or len(lines) < 1 + 2 * pax.number(lines[0], "sparse map"):
        blocks += 1
        if blocks * BLOCK_BYTES > stored_bytes or len(rest) > BLOCK_BYTES:
            raise FormatError("has a sparse map that does not end")
        *whole, rest = (rest + read_block()).split(b"\n")
        lines += whole
        _check_pairs(len(lines) // 2)
    count = pax.number(lines[0], "sparse map")
    values = [pax.number(line, "sparse map") for line in lines[1 : 1 + 2 * count]]
    return blocks * BLOCK_BYTES, _paired(values)


def _check_pairs(count: int) -> None:
    if count > PAIRS_MAX:
        raise FormatError(f"has a sparse map of more than {PAIRS_MAX} pieces")


def _table(raw: bytes, pairs: int) -> list[tuple[int, int]]:
    entries = (raw[24 * index : 24 * index + 24] for index in range(pairs))
    return [(parse_number(entry[:12]), parse_number(entry[12:])) for entry in entries if entry[12]]


def _paired(values: Sequence[int]) -> list[tuple[int, int]]:
    if len(values) % 2:
        raise FormatError("has a damaged sparse map")
    return list(zip(values[::2], values[1::2], strict=True))
