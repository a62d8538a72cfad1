from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import clone
from tests.need import find_tool, need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
PIECE = clone.DIGEST_PIECE_BYTES

Copy = tuple[tuple[int, bytes], ...]

data_at = st.tuples(st.integers(0, 8 * PIECE), st.binary(min_size=1, max_size=64))
contents = st.tuples(st.integers(1, 9 * PIECE), st.lists(data_at, max_size=6))


def write_sparse(path: Path, size: int, pieces: list[tuple[int, bytes]]) -> None:
    """A file of that size that holds the pieces which fit and, between them, holes."""
    with path.open("wb") as file:
        for offset, data in pieces:
            if offset + len(data) <= size:
                os.pwrite(file.fileno(), data, offset)
        file.truncate(size)


def write_dense(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, len(content)))


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """10 MiB with 4 KiB of data at 1 MiB and at the very end."""
    path = tmp_path / "sparse"
    write_sparse(path, 10 * MIB, [(MIB, b"a" * 4096), (10 * MIB - 4096, b"z" * 4096)])
    if path.stat().st_blocks * 512 > MIB:
        pytest.skip("the temporary directory's filesystem has no holes")
    return path


def no_reflink(_writer: int, _request: int, _reader: int) -> int:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("copy", [clone.clone, clone.sparse_copy])
def test_a_copy_has_the_same_bytes_and_the_same_holes(
    sparse: Path, tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    target = tmp_path / "copy"
    copy(sparse, target)
    subprocess.run([need("cmp", "diffutils"), sparse, target], check=True)
    assert target.stat().st_blocks <= sparse.stat().st_blocks


def test_where_holes_can_not_be_told_all_of_a_file_has_data(
    sparse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clone.digest(sparse)

    def refuse(_fd: int, _offset: int, _whence: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "lseek", refuse)
    with sparse.open("rb") as file:
        assert list(clone.data_extents(file.fileno(), MIB)) == [(MIB, 9 * MIB)]
    assert clone.digest(sparse) == before


def test_an_empty_file_is_copied(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    clone.clone(tmp_path / "empty", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_a_file_that_is_all_hole_is_copied_as_one(tmp_path: Path) -> None:
    write_sparse(tmp_path / "hole", 5 * MIB + 3, [])
    clone.clone(tmp_path / "hole", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_size == 5 * MIB + 3
    assert (tmp_path / "copy").stat().st_blocks == 0


def test_a_sparse_copy_leaves_unwritten_extents_behind(tmp_path: Path) -> None:
    path = tmp_path / "allocated"
    write_dense(path, b"a")
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MIB)
    clone.sparse_copy(path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < MIB


def test_where_blocks_cannot_be_shared_the_data_is_copied(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", no_reflink)
    assert clone.clone(sparse, tmp_path / "copy") is False
    assert (tmp_path / "copy").read_bytes() == sparse.read_bytes()


def test_an_error_that_is_not_about_sharing_blocks_is_told(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_writer: int, _request: int, _reader: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space left on device"):
        clone.clone(sparse, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on a filesystem of another type than the temporary one."""
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or os.statvfs(shared_memory).f_bavail == 0:
        pytest.skip("no tmpfs to write to")
    with tempfile.TemporaryDirectory(dir=shared_memory) as path:
        yield Path(path)


def test_a_file_is_copied_from_one_type_of_filesystem_to_another(elsewhere: Path, tmp_path: Path) -> None:
    source = elsewhere / "source"
    write_sparse(source, 5 * MIB, [(0, b"head"), (3 * MIB, os.urandom(MIB + 5))])
    clone.clone(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks * 512 < 2 * MIB


@pytest.mark.root
def test_a_clone_shares_its_blocks_where_the_filesystem_can(tmp_path: Path) -> None:
    mkfs = find_tool("mkfs.xfs") or pytest.skip("no mkfs.xfs here: apt-get install xfsprogs")
    if os.geteuid() != 0:
        pytest.skip("only root can mount an XFS")
    image, mount = tmp_path / "xfs.img", tmp_path / "mnt"
    write_sparse(image, 320 * MIB, [])
    mount.mkdir()
    subprocess.run([mkfs, "-q", image], check=True)
    if subprocess.run([need("mount"), "-o", "loop", image, mount], check=False).returncode:
        pytest.skip("no loop device to mount an XFS with")
    try:
        (mount / "source").write_bytes(os.urandom(MIB))
        assert clone.clone(mount / "source", mount / "copy") is True
        assert (mount / "copy").read_bytes() == (mount / "source").read_bytes()
    finally:
        subprocess.run([need("umount", "mount"), mount], check=True)


def test_a_target_that_is_there_is_not_touched(sparse: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        clone.clone(sparse, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_a_copy_that_fails_leaves_nothing_behind(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "ioctl", no_reflink)
    monkeypatch.setattr(os, "copy_file_range", broken)
    with pytest.raises(OSError, match="Input/output error"):
        clone.clone(sparse, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_file_that_becomes_shorter_while_it_is_copied_is_an_error(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    with pytest.raises(OSError, match="became shorter"):
        clone.sparse_copy(sparse, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_copy_is_its_makers_alone_whatever_the_umask_and_the_original_say(
    sparse: Path, tmp_path: Path, umask: int
) -> None:
    sparse.chmod(0o444)
    before = os.umask(umask)
    try:
        clone.clone(sparse, tmp_path / "copy")
    finally:
        os.umask(before)
    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o600


@SHARED_FIXTURES
@given(content=contents)
def test_sparse_dense_and_copied_files_have_one_digest(
    tmp_path_factory: pytest.TempPathFactory, content: tuple[int, list[tuple[int, bytes]]]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as top:
        sparse, dense, copy = (Path(top) / name for name in ("sparse", "dense", "copy"))
        write_sparse(sparse, *content)
        write_dense(dense, sparse.read_bytes())
        clone.clone(sparse, copy)
        assert clone.digest(sparse) == clone.digest(dense) == clone.digest(copy)
        data = sparse.read_bytes()
        assert clone.digest_of(data, len(data)) == clone.digest(sparse)
        assert clone.digest_of(data.rstrip(b"\0"), len(data)) == clone.digest(sparse)


@SHARED_FIXTURES
@given(content=contents, where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_changes_the_digest(
    tmp_path_factory: pytest.TempPathFactory,
    content: tuple[int, list[tuple[int, bytes]]],
    where: float,
    change: int,
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as top:
        path = Path(top) / "file"
        write_sparse(path, *content)
        before = clone.digest(path)
        offset = int(where * content[0])
        with path.open("r+b") as file:
            old = os.pread(file.fileno(), 1, offset)[0]
            os.pwrite(file.fileno(), bytes([old ^ change]), offset)
        assert clone.digest(path) != before


def test_files_of_zeros_differ_in_their_digest_by_their_size(tmp_path: Path) -> None:
    sizes = (0, 1, 4095, 4096, PIECE, PIECE + 1, 10 * MIB)
    digests = []
    for size in sizes:
        write_sparse(tmp_path / str(size), size, [])
        digests.append(clone.digest(tmp_path / str(size)))
    assert len(set(digests)) == len(sizes)


def test_the_same_data_elsewhere_in_the_file_has_another_digest(tmp_path: Path) -> None:
    for index in (0, 1, 2):
        write_sparse(tmp_path / str(index), 4 * PIECE, [(index * PIECE, b"data")])
    assert len({clone.digest(tmp_path / str(index)) for index in (0, 1, 2)}) == 3


def test_the_digest_of_a_long_hole_reads_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_sparse(path, 1 << 40, [(1 << 39, b"data")])
    read: list[int] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        read.append(offset)
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    clone.digest(path)
    assert read == [1 << 39]


def test_data_extents_are_ascending_and_hold_all_the_data(sparse: Path) -> None:
    with sparse.open("rb") as file:
        extents = list(clone.data_extents(file.fileno()))
        content = file.read()
    assert all(start + length <= later for (start, length), (later, _) in pairwise(extents))
    covered = bytearray(len(content))
    for start, length in extents:
        covered[start : start + length] = content[start : start + length]
    assert bytes(covered) == content


@given(
    st.dictionaries(st.integers(0, 600), st.sampled_from([0, 1, 7]), max_size=8), st.sets(st.integers(0, 600))
)
def test_a_digest_that_is_shared_is_that_of_the_file_with_the_pieces_that_differ(
    numbers: dict[int, int], changing: set[int]
) -> None:
    piece = clone.DIGEST_PIECE_BYTES
    size = 601 * piece

    def digest_of(pieces: dict[int, bytes]) -> str:
        data = b"".join(pieces.get(index, bytes(piece)) for index in range(max(pieces, default=0) + 1))
        return clone.digest_of(data, size)

    pieces = {index: bytes([number]) * piece for index, number in numbers.items()}
    shared = clone.SharedDigest(pieces, size, changing)
    assert shared.digest({}) == digest_of(pieces)
    other = {index: bytes([index % 3]) * piece for index in changing if index in pieces}
    assert shared.digest(other) == digest_of(pieces | other)
