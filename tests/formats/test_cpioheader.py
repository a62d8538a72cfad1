from __future__ import annotations

from typing import Any

import pytest

from bangerbuild.formats.cpioheader import HEADER_BYTES, CpioHeader, is_header, parse_header
from bangerbuild.formats.format_error import FormatError
from tests.formats.cpiomaking import record

FIELDS: dict[str, Any] = {
    "ino": 1,
    "mode": 0o100755,
    "uid": 2,
    "gid": 3,
    "nlink": 4,
    "mtime": 5,
    "size": 6,
    "major": 7,
    "minor": 8,
    "own_major": 9,
    "own_minor": 10,
    "namesize": 11,
    "check": 0xFFFFFFFF,
}


def test_every_field_is_read() -> None:
    block = record(b"name", magic=b"070702", **FIELDS)[:HEADER_BYTES]
    assert parse_header(block) == CpioHeader(
        1, 0o100755, 2, 3, 4, 5, 6, (7, 8), (9, 10), 11, checksum=0xFFFFFFFF
    )
    assert is_header(block)


def test_the_plain_form_has_no_sum() -> None:
    assert parse_header(record(b"name", check=7)[:HEADER_BYTES]).checksum is None


@pytest.mark.parametrize(
    ("start", "form"),
    [
        (b"070707", "the old portable form 'odc'"),
        (b"\xc7\x71", "the old binary form"),
        (b"\x71\xc7", "the old binary form of a big-endian machine"),
    ],
)
def test_an_old_form_is_refused_by_its_name(start: bytes, form: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_header(start.ljust(HEADER_BYTES, b"0"))
    assert caught.value.brief == f"is a cpio archive of {form}, and 'newc' is what is read here"
    assert caught.value.hint == "pack it again, as `cpio --create --format=newc` does"


@pytest.mark.parametrize("digits", [b"+", b" ", b"_", b"x", b"g", "²".encode()])
def test_what_python_would_take_for_a_number_is_none(digits: bytes) -> None:
    block = bytearray(record(b"name")[:HEADER_BYTES])
    block[20 : 20 + len(digits)] = digits
    assert not is_header(bytes(block))
    with pytest.raises(FormatError, match="has no header where one must be"):
        parse_header(bytes(block))
