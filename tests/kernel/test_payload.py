"""The payload of a bzImage is unpacked whatever packed it, and measured by the size behind it."""

from __future__ import annotations

import io
import struct

import pytest

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import payload
from tests.kernel.making import COMPRESSORS, elf, packed

ELF = elf(filler_bytes=100_000)


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_compressor_that_the_kernel_build_uses_is_unpacked(compressor: str) -> None:
    assert b"".join(payload.plain(packed(ELF, compressor))) == ELF


def test_what_is_not_compressed_stays_as_it_is() -> None:
    assert b"".join(payload.plain(ELF)) == ELF


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_another_size_than_the_one_behind_it_is_damage(compressor: str) -> None:
    data = bytearray(packed(ELF, compressor))
    struct.pack_into("<I", data, len(data) - 4, len(ELF) + 1)
    with pytest.raises(FormatError, match="payload"):
        list(payload.plain(bytes(data)))


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_payload_cut_short_is_refused(compressor: str) -> None:
    with pytest.raises(FormatError, match=r"has a (damaged )?payload"):
        list(payload.plain(packed(ELF, compressor)[:-2000]))


def test_lzo_is_known_and_can_not_be_unpacked() -> None:
    with pytest.raises(FormatError, match="has a payload compressed with lzo") as caught:
        list(payload.plain(b"\x89LZO\0\r\n\x1a\n" + bytes(100)))
    assert "CONFIG_KERNEL_ZSTD" in str(caught.value.hint)


def test_an_unknown_compressor_is_told_by_its_first_bytes() -> None:
    with pytest.raises(FormatError, match="an unknown compressor: it begins with 'de ad be ef'"):
        list(payload.plain(b"\xde\xad\xbe\xef" + bytes(100)))


def test_more_than_a_kernel_can_have_is_refused_as_soon_as_it_is_there() -> None:
    pieces = iter(lambda: bytes(64 << 20), None)
    taken: list[int] = []
    with pytest.raises(FormatError, match="it unpacks to more than 512 MiB"):
        taken.extend(len(piece) for piece in payload.limited(pieces))
    assert sum(taken) == payload.LIMIT_BYTES


def test_a_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(bytes(payload.PIECE_BYTES + 10))
    file.seek(5)
    assert [len(piece) for piece in payload.pieces_of(file)] == [payload.PIECE_BYTES, 5]
