"""The members of a tarball with what extended headers say of them, as other programs read them."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.tarmembers import Member, read_members
from bangerbuild.formats.tarstream import TarStream
from tests.formats.tarmaking import END, gnu_tar, member, pax

if TYPE_CHECKING:
    from pathlib import Path

LONG = "directory/" * 20 + "x" * 90


def members(data: bytes, *, is_whole: bool = False) -> list[Member]:
    """All of them, their data passed over."""
    stream = TarStream(io.BytesIO(data), "a.tar", is_whole=is_whole)
    found = []
    for one in read_members(stream):
        found.append(one)
        size = one.number(b"size", one.header.size_bytes, "size")
        stream.skip(size, -size % 512)
    return found


@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "pax"])
def test_the_members_are_those_that_tarfile_finds(tmp_path: Path, form: str) -> None:
    (tmp_path / "top/sub").mkdir(parents=True)
    (tmp_path / "top/sub/file").write_bytes(b"content" * 100)
    (tmp_path / "top/link").symlink_to("sub/file")
    if form in {"gnu", "pax"}:
        (tmp_path / "top" / LONG).parent.mkdir(parents=True)
        (tmp_path / "top" / LONG).write_text("far down")
    archive = gnu_tar(tmp_path / "top", tmp_path / "a.tar", f"--format={form}")
    with tarfile.open(archive) as judge:
        expected = [(info.name, info.size) for info in judge]
    assert [
        (found.name.rstrip("/"), found.number(b"size", found.header.size_bytes, "size"))
        for found in members(archive.read_bytes())
    ] == expected


def test_the_last_record_of_a_key_counts_and_holds_for_one_member() -> None:
    first, second = members(
        pax([(b"path", b"one"), (b"path", b"two")]) + member(b"short", b"x") + member(b"next") + END
    )
    assert (first.name, second.name) == ("two", "next")


def test_a_global_record_holds_for_all_and_an_empty_one_takes_it_back() -> None:
    first, second, third = members(
        pax([(b"uname", b"all")], kind=b"g")
        + member(b"a")
        + pax([(b"uname", b"")])
        + member(b"b")
        + member(b"c")
        + END
    )
    assert [found.records[b"uname"] for found in (first, second, third)] == [b"all", b"", b"all"]


def test_repeated_records_of_a_sparse_map_are_all_kept_in_their_order() -> None:
    pairs = [(b"GNU.sparse.offset", b"0"), (b"GNU.sparse.numbytes", b"5"), (b"GNU.sparse.offset", b"9")]
    (found,) = members(pax(pairs) + member(b"a") + END)
    assert found.extensions.sparse_pairs == [b"0", b"5", b"9"]


@pytest.mark.parametrize("value", [b"-1", b"9223372036854775808", b"1x"])
def test_a_number_out_of_range_is_refused(value: bytes) -> None:
    stream = TarStream(io.BytesIO(pax([(b"size", value)]) + member(b"a") + END), "a.tar")
    found = next(read_members(stream))
    with pytest.raises(FormatError, match="has a damaged size"):
        found.number(b"size", 0, "size")
    assert found.number(b"missing", 7, "number") == 7


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (bytes(1024), "holds no entries"),
        (member(b"a"), "and without its end mark"),
        (member(b"a") + bytes(512) + member(b"b") + END, "it goes on after a block of zeros"),
        (member(b"a") + pax([(b"path", b"b")]) + END, "it has an extended header and no entry for it"),
        (member(b"a") + b"\1" * 512 + END, "is damaged"),
        (pax([(b"path", b"b")])[:600], "ends before its first entry"),
        (member(b"x", b"9 path=a", kind=b"x") + member(b"a") + END, "it has a damaged pax header"),
    ],
)
def test_an_archive_that_is_broken_says_how(data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        members(data)


def test_what_a_digest_vouches_for_needs_no_end_mark() -> None:
    assert members(b"", is_whole=True) == []
    assert [found.name for found in members(member(b"a"), is_whole=True)] == ["a"]
