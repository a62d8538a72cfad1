from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import qcow2
from bangerbuild.disk.qcow2_header import base_of, parse_header
from bangerbuild.errors import OverlayError
from tests.disk.test_qcow2 import BASE

HEAD = qcow2.empty(1 << 30, BASE)[: qcow2.HEAD_BYTES]


def with_number(offset: int, number: int, code: str = "Q") -> bytes:
    """A header with another number in it."""
    packed = struct.pack(f">{code}", number)
    return HEAD[:offset] + packed + HEAD[offset + len(packed) :]


@given(st.binary(max_size=200), st.integers(0, 150))
def test_a_damaged_header_is_refused_or_read(noise: bytes, at: int) -> None:
    head = bytearray(HEAD)
    head[at : at + len(noise)] = noise
    try:
        header = parse_header(bytes(head), "root.qcow2")
    except OverlayError:
        return
    assert header.l1_entries * 8 <= qcow2.LARGEST_TABLE_BYTES
    assert header.clusters <= header.l1_entries * header.entries_per_table


@pytest.mark.parametrize(
    ("head", "message", "hint"),
    [
        (HEAD[:90], "ends before its header does", "--replace"),
        (with_number(4, 2, "I"), "of version 2", "qemu-img amend -f qcow2 -o compat=v3 'vms/a b/root.qcow2'"),
        (with_number(4, 9, "I"), "of version 9", "--replace"),
        (with_number(32, 2, "I"), "is encrypted", "--replace"),
        (with_number(60, 3, "I"), "has 3 snapshots inside", "qemu-img snapshot -l"),
        (with_number(72, 2), "is marked as corrupt", "qemu-img check -r all 'vms/a b/root.qcow2'"),
        (
            with_number(72, 1 << 4),
            "has extended L2 entries",
            f"-B {BASE} root.qcow2 new && mv new root.qcow2",
        ),
        (
            # and names no base, so whatever QEMU made of it would be no root
            with_number(72, 1 << 2)[:8] + bytes(12) + with_number(72, 1 << 2)[20:],
            "keeps its data in another file",
            "--replace",
        ),
        (with_number(72, 1 << 63), "has the unknown feature 63", "a newer bangerbuild"),
        (with_number(88, 1), "has dirty bitmaps", "qemu-img bitmap --remove"),
        (with_number(20, 22, "I"), r"clusters of 2\^22 bytes", "--replace"),
        (with_number(96, 6, "I"), r"refcounts of 2\^6 bits", "-o refcount_bits=16"),
        (with_number(100, 1 << 20, "I"), "its header can't take 1048576 bytes", "--replace"),
        (with_number(8, 0), "names no base", "--replace"),
        (with_number(16, 0, "I"), "names no base", "--replace"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value[:30],
)
def test_what_is_not_known_is_refused_by_name_with_the_way_out(head: bytes, message: str, hint: str) -> None:
    with pytest.raises(OverlayError, match=message) as caught:
        parse_header(head, "vms/a b/root.qcow2")
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_a_header_of_104_bytes_is_read() -> None:
    assert parse_header(with_number(100, 104, "I"), "root.qcow2").base == BASE


def test_one_that_was_not_closed_says_so() -> None:
    assert parse_header(with_number(72, 1), "root.qcow2").is_dirty
    assert not parse_header(HEAD, "root.qcow2").is_dirty


def test_a_base_of_another_format_is_refused() -> None:
    with pytest.raises(OverlayError, match="stands on a base of the format 'vdi'"):
        parse_header(HEAD.replace(b"raw", b"vdi", 1), "root.qcow2")


def test_the_base_of_what_is_no_qcow2_file_is_not_known() -> None:
    assert base_of(b"") is None
    assert base_of(b"SnAp" + bytes(4092)) is None
    assert base_of(HEAD) == BASE
