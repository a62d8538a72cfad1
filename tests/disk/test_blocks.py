"""A raw disk: bytes at offsets, never beyond its end; and disks of which some chunks lie elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile, chunked, read_layered
from bangerbuild.errors import FULL_HINT, FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = bytes(range(256)) * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(DATA)
    return tmp_path / "disk"


def test_what_is_written_is_read_and_the_rest_and_the_size_stay(path: Path) -> None:
    with RawFile(path, writable=True) as disk:
        disk.write(100, b"new")
        disk.flush()
        assert disk.read(98, 7) == DATA[98:100] + b"new" + DATA[103:105]
        assert disk.size_bytes == len(DATA)
    assert path.read_bytes() == DATA[:100] + b"new" + DATA[103:]


@pytest.mark.parametrize(("offset", "length"), [(len(DATA), 1), (len(DATA) - 1, 2), (1 << 60, 1)])
def test_nothing_lies_beyond_the_end(path: Path, offset: int, length: int) -> None:
    with RawFile(path, writable=True) as disk:
        with pytest.raises(FilesystemError, match=f"ends before byte {offset + length}"):
            disk.read(offset, length)
        with pytest.raises(FilesystemError, match=f"ends before byte {offset + length}"):
            disk.write(offset, bytes(length))
    assert path.read_bytes() == DATA


def test_a_disk_that_was_cut_since_it_was_opened_is_told(path: Path) -> None:
    with RawFile(path) as disk:
        os.truncate(path, 1000)
        with pytest.raises(FilesystemError, match="ends before byte 2000"):
            disk.read(500, 1500)


def test_what_is_opened_for_reading_is_not_written(path: Path) -> None:
    with RawFile(path) as disk, pytest.raises(FilesystemError, match="cannot write"):
        disk.write(0, b"x")
    assert path.read_bytes() == DATA


MAKERS: dict[str, Callable[[Path], object]] = {
    "a directory": lambda path: path.mkdir(),
    "a fifo": os.mkfifo,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_no_disk_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path / "odd")
    with pytest.raises(FilesystemError, match="is no disk: neither a regular file nor a block device"):
        RawFile(tmp_path / "odd")


def test_what_lies_beside_a_disk_is_a_regular_file_and_no_symlink(path: Path, tmp_path: Path) -> None:
    RawFile(path, beside=True).close()
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(FilesystemError, match="cannot open"):
        RawFile(tmp_path / "link", beside=True)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(FilesystemError, match="so nothing that was left here") as caught:
        RawFile(tmp_path / "fifo", beside=True)
    assert caught.value.hint == f"rm '{tmp_path / 'fifo'}'"


def test_a_host_without_room_is_told_before_anything_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with RawFile(path, writable=True) as disk, pytest.raises(FilesystemError, match="is no room") as caught:
        disk.allocate([(0, 100)])
    assert (caught.value.hint, caught.value.code) == (FULL_HINT, errno.ENOSPC)


def test_a_disk_is_let_go_of_once_however_often_it_is_closed(path: Path) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    disk = RawFile(path)
    disk.close()
    disk.close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


@given(
    offset=st.integers(0, len(DATA)),
    length=st.integers(0, len(DATA)),
    chunk_bytes=st.sampled_from([16, 64, 1024]),
    kept=st.sets(st.integers(0, 255)),
)
def test_a_layered_disk_reads_as_one(offset: int, length: int, chunk_bytes: int, kept: set[int]) -> None:
    length = min(length, len(DATA) - offset)
    whole = bytearray(DATA)
    own = {}
    for chunk in (chunk for chunk in kept if chunk < len(DATA) // chunk_bytes):
        own[chunk] = bytes([chunk]) * chunk_bytes
        whole[chunk * chunk_bytes : (chunk + 1) * chunk_bytes] = own[chunk]
    found = read_layered(offset, length, chunk_bytes, own.get, lambda at, size: DATA[at : at + size])
    assert found == whole[offset : offset + length]


@given(offset=st.integers(0, 5000), data=st.binary(max_size=300), chunk_bytes=st.sampled_from([1, 16, 512]))
def test_pieces_lie_in_one_chunk_each_and_are_the_bytes(offset: int, data: bytes, chunk_bytes: int) -> None:
    at = offset
    pieces = list(chunked(offset, data, chunk_bytes))
    for chunk, within, piece in pieces:
        assert chunk * chunk_bytes + within == at
        assert 0 < len(piece) <= chunk_bytes - within
        at += len(piece)
    assert b"".join(piece for _, _, piece in pieces) == data
