"""Records of extended headers: read as they were written, and refused where they are damaged."""

from __future__ import annotations

import base64
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats import pax
from bangerbuild.formats.format_error import FormatError
from tests.formats.tarmaking import record


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1", 10**9),
        (b"1.", 10**9),
        (b"1700000000.123456789", 1700000000123456789),
        (b"1.1234567899", 1123456789),
        (b"-1", -(10**9)),
        (b"-1.5", -1500000000),
        (b"-0.000000001", -1),
        (b"-0.0000000001", -1),
        (b"99999999999.5", 99999999999500000000),
    ],
)
def test_times_are_exact_and_cut_towards_the_past(text: bytes, nanoseconds: int) -> None:
    assert pax.mtime_ns(text) == nanoseconds


@pytest.mark.parametrize("text", [b"", b"1e5", b"nan", b"1_0", b" 1", b"--1", b".5", b"9" * 5000])
def test_times_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="damaged time"):
        pax.mtime_ns(text)


@given(
    st.lists(st.tuples(st.binary(min_size=1).filter(lambda key: b"=" not in key), st.binary(max_size=200)))
)
def test_pax_records_come_out_as_they_went_in(records: list[tuple[bytes, bytes]]) -> None:
    assert list(pax.parse_records(b"".join(record(*pair) for pair in records))) == records


@pytest.mark.parametrize(
    "data",
    [
        b"6 a=b",
        b"7 a=b\n",
        b"5 a=b\n",
        b"6 ab\n\n",
        b"5 =b\n",
        b"x a=b\n",
        b"-6 a=b\n",
        b"0 a=b\n",
        b"6\na=b\n",
        b"\0\0",
    ],
)
def test_damaged_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="damaged pax header"):
        list(pax.parse_records(data))


def test_records_that_tarfile_writes_are_read() -> None:
    entry = tarfile.TarInfo("a" * 200)
    entry.pax_headers = {"SCHILY.xattr.user.note": "naïve"}
    header = entry.tobuf(tarfile.PAX_FORMAT)
    size = int(header[124:135], 8)
    assert dict(pax.parse_records(header[512 : 512 + size])) == {
        b"path": b"a" * 200,
        b"SCHILY.xattr.user.note": "naïve".encode(),
    }


@pytest.mark.parametrize("value", [b"0", b"7", b"18446744073709551615"])
def test_a_number_is_decimal(value: bytes) -> None:
    assert pax.number(value, "size") == int(value)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"0x1", b"1" * 21])
def test_a_number_that_is_none_is_refused_with_what_it_stands_for(value: bytes) -> None:
    with pytest.raises(FormatError, match="has a damaged size: "):
        pax.number(value, "size")


def test_attributes_are_named_as_gnu_tar_and_libarchive_write_them() -> None:
    found = pax.xattrs(
        {
            b"SCHILY.xattr.user.a%3Db%25": b"one",
            b"LIBARCHIVE.xattr.user.c%20d": base64.b64encode(b"two").rstrip(b"="),
            b"path": b"no attribute",
        }
    )
    assert found == {"user.a=b%": b"one", "user.c d": b"two"}


def test_attributes_that_linux_has_no_namespace_for_are_left_out() -> None:
    assert pax.xattrs({b"SCHILY.xattr.com.apple.quarantine": b"x"}) == {}


@pytest.mark.parametrize(
    ("records", "brief"),
    [
        ({b"SCHILY.acl.ace": b"x"}, "has an NFSv4 ACL"),
        ({b"LIBARCHIVE.xattr.user.a": b"A"}, "has a damaged value of 'user.a'"),
        ({b"SCHILY.xattr.system.posix_acl_access": b"\x02\0\0"}, "ACL"),
    ],
)
def test_attributes_that_cannot_be_understood_are_refused(records: dict[bytes, bytes], brief: str) -> None:
    with pytest.raises(FormatError, match=brief):
        pax.xattrs(records)
