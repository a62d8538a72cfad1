from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.tarheader import parse_header, parse_number
from tests.formats.tarmaking import header, with_checksum

OCTAL_MAX = 0o7777777


@given(
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 1 << 55) | st.integers(0, OCTAL_MAX),
    size=st.integers(0, 1 << 62),
    mtime=st.integers(-(1 << 62), 1 << 62),
    name=st.text("abcé/", min_size=1, max_size=40).filter(lambda name: not name.endswith("/")),
)
def test_headers_that_tarfile_writes_are_read(mode: int, uid: int, size: int, mtime: int, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.size, info.mtime = mode, uid, size, mtime

    found = parse_header(info.tobuf(format=tarfile.GNU_FORMAT))

    assert (found.name, found.mode, found.uid) == (name.encode(), mode, uid)
    assert (found.size_bytes, found.mtime_s) == (size, mtime)


@pytest.mark.parametrize("extra", [1, -1, 256, -256])
def test_a_wrong_checksum_is_refused(extra: int) -> None:
    with pytest.raises(FormatError, match="wrong checksum"):
        parse_header(with_checksum(header(b"name"), extra))


def test_a_checksum_of_signed_bytes_as_old_systems_wrote_it_is_taken() -> None:
    name = b"caf\xe9"

    assert parse_header(with_checksum(header(name), extra=-256)).name == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"644\0junk", 0o644),
        (b"\0" * 8, 0),
        (b"        ", 0),
        (b"77777777", 0o77777777),
        (b"\x80\0\0\0\0\0\1\0", 256),
        (b"\xff" * 8, -1),
    ],
)
def test_numbers_are_octal_or_base_256(field: bytes, value: int) -> None:
    assert parse_number(field) == value


@pytest.mark.parametrize("field", [b"12x\0", b"8\0", b"6 4\0", b"\x7f\0"])
def test_numbers_that_are_none_are_refused(field: bytes) -> None:
    with pytest.raises(FormatError, match="damaged number"):
        parse_number(field)
