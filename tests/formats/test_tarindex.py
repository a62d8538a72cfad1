"""Where each file of a tarball lies, as tarfile finds it too; links are followed inside only."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.tarindex import read_index
from bangerbuild.formats.tarstream import TarStream
from tests.formats.tarmaking import END, gnu_tar, header, member

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.formats.tarindex import TarIndex


def index(*members: bytes) -> TarIndex:
    return read_index(TarStream(io.BytesIO(b"".join(members) + END), "a.tar"))


def link(name: bytes, to: bytes, kind: bytes = b"2") -> bytes:
    return header(name, kind=kind, link=to)


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax"])
def test_every_file_lies_where_tarfile_finds_it(tmp_path: Path, form: str) -> None:
    (tmp_path / "top/blobs").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "top/blobs" / f"{number}").write_bytes(bytes([number]) * number * 400)
    archive = gnu_tar(tmp_path / "top", tmp_path / "a.tar", f"--format={form}")
    with archive.open("rb") as file:
        found = read_index(TarStream(file, "a.tar"))
    with tarfile.open(archive) as judge:
        for info in judge:
            if info.isreg():
                part = found.find(info.name.removeprefix("./"))
                assert part is not None
                assert (part.offset, part.size_bytes, part.digest) == (info.offset_data, info.size, None)


def test_data_that_had_to_be_unpacked_has_its_digest() -> None:
    packed = gzip.compress(member(b"a", b"content" * 1000) + END)
    part = read_index(TarStream(io.BytesIO(packed), "a.tar")).find("a")
    assert part is not None
    assert part.digest == f"sha256:{hashlib.sha256(b'content' * 1000).hexdigest()}"


def test_of_a_name_that_comes_twice_the_last_one_counts() -> None:
    part = index(member(b"a", b"one"), member(b"./a", b"two, longer")).find("a")
    assert part is not None
    assert part.size_bytes == len(b"two, longer")


def test_links_are_followed_among_the_members() -> None:
    found = index(
        member(b"blobs/layer", b"content"),
        link(b"a/first", b"../blobs/layer"),
        link(b"a/second", b"first"),
        link(b"hard", b"blobs/layer", b"1"),
    )
    layer = found.find("blobs/layer")
    assert layer is not None
    assert found.find("a/second") == found.find("hard") == layer
    assert found.find("missing") is None


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([header(b"a", kind=b"5")], "is a directory"),
        ([header(b"a", kind=b"3")], "is a device"),
        ([header(b"a", kind=b"6")], "is a pipe"),
        ([link(b"a", b"../outside")], "leads out of the archive"),
        ([link(b"a", b"/etc/passwd")], "leads out of the archive"),
        ([link(b"a", b"b"), link(b"b", b"a")], "leads in a circle"),
    ],
)
def test_what_is_no_file_is_told_when_it_is_asked_for(members: list[bytes], said: str) -> None:
    found = index(member(b"other", b"x"), *members)
    assert found.find("other") is not None
    with pytest.raises(FormatError, match=said):
        found.find("a")


def test_further_names_are_those_of_files_that_are_there() -> None:
    found = index(member(b"old", b"x")).with_names({"new": "old", "gone": "nowhere"})
    assert found.find("new") == found.find("old")
    with pytest.raises(FormatError, match="is missing"):
        found.find("gone")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header(b"a", kind=b"S"), "is stored with holes"),
        (header(b"a", kind=b"M"), "is of a type that no archive of images has"),
        (member(b"../a"), "leads out of the tree"),
    ],
)
def test_what_cannot_be_read_where_it_lies_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        index(data)


def test_names_without_end_are_refused() -> None:
    many = b"".join(header(b"%08d" % number) for number in range(130_000))
    with pytest.raises(SourceError, match="has too many entries for an archive of images"):
        index(many)
