from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import overlay
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError, OverlayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE_BYTES = 50_000
CONTENT = bytes(i * 7 % 251 for i in range(BASE_BYTES))


class MemoryBlocks:
    """A disk that is bytes."""

    name = "memory"
    place: str | None = None
    writable = False

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size_bytes = len(content)

    def read(self, offset: int, length: int) -> bytes:
        data = self.content[offset : offset + length]
        assert len(data) == length, "read beyond the base"
        return data

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError(f"the base was written: {len(data)} bytes at {offset}")

    def flush(self) -> None:
        raise AssertionError("the base was flushed")


@pytest.fixture
def base() -> MemoryBlocks:
    return MemoryBlocks(CONTENT)


def pairs_of(path: Path) -> dict[int, int]:
    """The first area's pairs, read without our parser."""
    raw = path.read_bytes()
    size = struct.unpack_from("<I", raw, 12)[0] * 512
    area = struct.iter_unpack("<2Q", raw[size : 2 * size])
    return {old: new for old, new in area if new}


@given(
    chunk_bytes=st.sampled_from([512, 4096]),
    writes=st.lists(
        st.tuples(st.integers(0, BASE_BYTES - 1), st.binary(min_size=1, max_size=6000)), max_size=12
    ),
    limit=st.sampled_from([0, 2000, 1 << 20]),
    reopen=st.booleans(),
)
def test_any_writes_are_read_back_now_and_after_reopening(
    tmp_path_factory: pytest.TempPathFactory,
    chunk_bytes: int,
    writes: list[tuple[int, bytes]],
    limit: int,
    reopen: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    path = tmp_path_factory.mktemp("store") / "s.cow"
    expected = bytearray(CONTENT)
    base = MemoryBlocks(CONTENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "PENDING_LIMIT_BYTES", limit)
        store = SnapshotStore.create(base, path, chunk_bytes=chunk_bytes, durable=False)
        for offset, drawn in writes:
            data = drawn[: BASE_BYTES - offset]
            store.write(offset, data)
            expected[offset : offset + len(data)] = data
            if reopen:
                store.commit()
                store.close()
                store = SnapshotStore(base, path, writable=True, durable=False)
        assert store.read(0, BASE_BYTES) == expected
        store.commit()
        store.close()
    with SnapshotStore(base, path) as again:
        assert again.read(0, BASE_BYTES) == expected
        assert all(again.read(at, 1) == expected[at : at + 1] for at in range(0, BASE_BYTES, 997))


def test_chunks_are_placed_in_the_order_of_the_base(base: MemoryBlocks, tmp_path: Path) -> None:
    with SnapshotStore.create(base, tmp_path / "s.cow") as store:
        for chunk in (9, 2, 5):
            store.write(chunk * 4096, b"x")
        store.commit()
    assert pairs_of(tmp_path / "s.cow") == {2: 2, 5: 3, 9: 4}


def test_a_chunk_written_as_it_was_takes_no_place(base: MemoryBlocks, tmp_path: Path) -> None:
    with SnapshotStore.create(base, tmp_path / "s.cow") as store:
        store.write(4096, CONTENT[4096:8192])
        store.commit()
        assert store.changed_count == 0
    assert pairs_of(tmp_path / "s.cow") == {}


def test_a_chunk_set_back_to_the_base_after_a_commit_is_set_back_in_the_store(
    base: MemoryBlocks, tmp_path: Path
) -> None:
    with SnapshotStore.create(base, tmp_path / "s.cow") as store:
        store.write(0, b"new")
        store.commit()
        store.write(0, CONTENT[:3])
        store.commit()
    with SnapshotStore(base, tmp_path / "s.cow") as store:
        assert store.read(0, 10) == CONTENT[:10]


def test_nothing_refers_to_new_chunks_before_the_commit(base: MemoryBlocks, tmp_path: Path) -> None:
    with SnapshotStore.create(base, tmp_path / "s.cow") as store:
        store.write(0, b"lost")
    with SnapshotStore(base, tmp_path / "s.cow") as store:
        assert store.read(0, 4) == CONTENT[:4]


def test_a_store_that_is_exactly_full_is_followed_by_an_empty_area(
    base: MemoryBlocks, tmp_path: Path
) -> None:
    path = tmp_path / "s.cow"
    with SnapshotStore.create(base, path, chunk_bytes=512, capacity_bytes=35 * 512) as store:
        store.write(0, b"\1" * 32 * 512)
        store.commit()
    assert not any(path.read_bytes()[34 * 512 : 35 * 512])
    with SnapshotStore(base, path) as store:
        assert store.changed_count == 32


def test_a_store_without_the_area_behind_a_full_one_counts_as_full(
    base: MemoryBlocks, tmp_path: Path
) -> None:
    with SnapshotStore.create(base, tmp_path / "s.cow", chunk_bytes=512, capacity_bytes=34 * 512) as store:
        store.write(0, b"\1" * 32 * 512)
        with pytest.raises(OverlayError, match="is full"):
            store.commit()


def test_stale_bytes_where_a_new_area_begins_do_not_become_exceptions(
    base: MemoryBlocks, tmp_path: Path
) -> None:
    path = tmp_path / "s.cow"
    with SnapshotStore.create(base, path, chunk_bytes=512) as store:
        with path.open("r+b") as file:
            file.seek(34 * 512)
            file.write(b"\7" * 512)
        store.write(0, b"\1" * 32 * 512)
        store.commit()
    with SnapshotStore(base, path, writable=True) as store:
        assert store.changed_count == 32
        store.write(32 * 512, b"\1" * 512)
        store.commit()
    with SnapshotStore(base, path) as store:
        assert store.changed_count == 33


def test_a_full_store_says_what_it_needs_and_refers_to_nothing_new(
    base: MemoryBlocks, tmp_path: Path
) -> None:
    path = tmp_path / "s.cow"
    with SnapshotStore.create(base, path, capacity_bytes=4 * 4096) as store:
        store.write(0, b"a")
        store.commit()
        store.write(4096, b"b" * 4096 * 3)
        with pytest.raises(
            OverlayError, match=r"its 16384 bytes are too few, at least 24576 are needed"
        ) as caught:
            store.commit()
    assert caught.value.hint == "give the store a larger size"
    assert pairs_of(path) == {0: 2}


def test_a_store_too_small_for_one_chunk_is_refused_and_not_made(base: MemoryBlocks, tmp_path: Path) -> None:
    with pytest.raises(OverlayError, match="it takes 12288 at the least"):
        SnapshotStore.create(base, tmp_path / "s.cow", capacity_bytes=8192)
    assert not (tmp_path / "s.cow").exists()


def test_creating_a_store_never_replaces_a_file(base: MemoryBlocks, tmp_path: Path) -> None:
    (tmp_path / "s.cow").write_bytes(b"mine")
    with pytest.raises(OverlayError, match="File exists"):
        SnapshotStore.create(base, tmp_path / "s.cow")
    assert (tmp_path / "s.cow").read_bytes() == b"mine"


def test_a_new_store_is_sparse_and_readable_by_its_owner_alone(base: MemoryBlocks, tmp_path: Path) -> None:
    SnapshotStore.create(MemoryBlocks(bytes(1 << 20)), tmp_path / "s.cow").close()
    status = (tmp_path / "s.cow").stat()
    assert status.st_size == (1 + 2 + 256) * 4096
    assert status.st_blocks * 512 <= 4096
    assert status.st_mode & 0o777 == 0o600


def test_writing_beyond_the_end_is_refused(base: MemoryBlocks, tmp_path: Path) -> None:
    with (
        SnapshotStore.create(base, tmp_path / "s.cow") as store,
        pytest.raises(FilesystemError, match="ends before"),
    ):
        store.write(BASE_BYTES - 1, b"xy")


@pytest.mark.parametrize("chunk_sectors", [8, 16, 32])
def test_a_store_written_by_a_kernel_is_read_and_appended_to(
    base: MemoryBlocks, tmp_path: Path, chunk_sectors: int
) -> None:
    size = chunk_sectors * 512
    raw = bytearray(8 * size)
    struct.pack_into("<4I", raw, 0, 0x70416E53, 1, 1, chunk_sectors)
    struct.pack_into("<4Q", raw, size, 1, 3, 0, 2)  # in the order the guest wrote, chunk 1 before chunk 0
    raw[3 * size : 4 * size] = b"B" * size
    raw[2 * size : 3 * size] = b"A" * size
    (tmp_path / "s.cow").write_bytes(raw)
    with SnapshotStore(base, tmp_path / "s.cow", writable=True) as store:
        assert store.read(0, 2 * size) == b"A" * size + b"B" * size
        store.write(2 * size + 5, b"C")
        store.commit()
    assert pairs_of(tmp_path / "s.cow") == {1: 3, 0: 2, 2: 4}
    with SnapshotStore(base, tmp_path / "s.cow") as store:
        assert (
            store.read(2 * size, 10)
            == CONTENT[2 * size : 2 * size + 5] + b"C" + CONTENT[2 * size + 6 : 2 * size + 10]
        )


def test_the_same_writes_give_the_same_bytes(base: MemoryBlocks, tmp_path: Path) -> None:
    for name in ("a.cow", "b.cow"):
        with SnapshotStore.create(base, tmp_path / name) as store:
            store.write(100, b"one")
            store.write(40_000, b"two")
            store.commit()
    assert (tmp_path / "a.cow").read_bytes() == (tmp_path / "b.cow").read_bytes()


def test_a_full_host_disk_is_one_plain_message(
    base: MemoryBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(_fd: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with SnapshotStore.create(base, tmp_path / "s.cow") as store:
        store.write(0, b"x")
        monkeypatch.setattr(os, "pwrite", no_space)
        with pytest.raises(FilesystemError, match=r"cannot write '.*s\.cow': No space left on device"):
            store.commit()


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.write_bytes(CONTENT)
    yield path
    assert path.stat().st_size == BASE_BYTES


def test_a_raw_file_is_read_and_written_in_place(raw: Path) -> None:
    with RawFile(raw, writable=True) as blocks:
        blocks.write(10, b"hello")
        blocks.flush()
        assert blocks.read(9, 7) == CONTENT[9:10] + b"hello" + CONTENT[15:16]
    assert raw.read_bytes() == CONTENT[:10] + b"hello" + CONTENT[15:]


def test_a_raw_file_neither_grows_nor_reads_beyond_its_end(raw: Path) -> None:
    with RawFile(raw, writable=True) as blocks:
        with pytest.raises(FilesystemError, match=f"ends before byte {BASE_BYTES + 1}"):
            blocks.write(BASE_BYTES, b"x")
        with pytest.raises(FilesystemError, match="ends before byte"):
            blocks.read(BASE_BYTES - 1, 2)


def test_a_raw_file_opened_for_reading_cannot_be_written(raw: Path) -> None:
    with RawFile(raw) as blocks, pytest.raises(FilesystemError, match="cannot write"):
        blocks.write(0, b"x")


def test_a_missing_file_is_not_made_and_a_directory_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(FilesystemError, match="No such file"):
        RawFile(tmp_path / "none", writable=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(FilesystemError, match="neither a regular file nor a block device"):
        RawFile(tmp_path)


def test_a_store_is_opened_on_no_other_base_than_it_is_marked_with(tmp_path: Path) -> None:
    base, path = MemoryBlocks(bytes(1 << 20)), tmp_path / "s.cow"
    SnapshotStore.create(base, path, base_name="one").close()
    for name in ("one", ""):
        SnapshotStore(base, path, base_name=name).close()
    with pytest.raises(OverlayError, match=r"s\.cow' was made on 'one', and not on 'two'"):
        SnapshotStore(base, path, base_name="two")
