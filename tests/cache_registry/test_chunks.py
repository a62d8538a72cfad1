"""Files in chunks: what zstd itself makes of them, what is left out, and what is not believed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cache_registry import chunks
from bangerbuild.cache_registry.artifact import CHUNK_BYTES, Chunk, sha256
from bangerbuild.cache_registry.chunks import DamagedChunkError
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

SIZE_BYTES = 3 * CHUNK_BYTES + 5000


class Kept:
    """Blobs in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.known: dict[str, tuple[str, int]] = {}
        self.count = 0

    def keep(self, data: bytes) -> tuple[str, int]:
        self.count += 1
        self.path(sha256(data)).write_bytes(data)
        return sha256(data), len(data)

    def path(self, digest: str) -> Path:
        return self.directory / digest

    def cut(self, path: Path) -> tuple[Chunk, ...]:
        return chunks.cut(path, "disk", self.known.get, self.keep)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    (tmp_path / "blobs").mkdir()
    return Kept(tmp_path / "blobs")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A chunk with data at its end, one of written zeros, a hole, and the rest of a chunk."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
        os.pwrite(file.fileno(), b"first" * 1000, CHUNK_BYTES - 5000)
        os.pwrite(file.fileno(), bytes(CHUNK_BYTES), CHUNK_BYTES)
        os.pwrite(file.fileno(), b"last", SIZE_BYTES - 4)
    return path


def test_chunks_of_zeros_are_left_out_and_others_are_zstd(disk: Path, kept: Kept) -> None:
    found = kept.cut(disk)
    assert [(one.offset, one.size_bytes) for one in found] == [(0, CHUNK_BYTES), (3 * CHUNK_BYTES, 5000)]
    for one in found:
        command = [need("zstd"), "-dc", str(kept.path(one.blob))]
        plain = subprocess.run(command, check=True, capture_output=True).stdout
        assert plain == disk.read_bytes()[one.offset : one.offset + one.size_bytes]
        assert one.digest == sha256(plain)


def test_the_same_content_gives_the_same_blobs_and_a_known_one_is_not_compressed_again(
    disk: Path, kept: Kept
) -> None:
    first = kept.cut(disk)
    again = kept.cut(disk)
    assert first == again
    kept.known, kept.count = {first[0].digest: (first[0].blob, first[0].blob_bytes)}, 0
    assert (kept.cut(disk), kept.count) == (first, 1)


def test_a_file_that_is_put_together_is_the_same_and_has_holes(
    disk: Path, kept: Kept, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    chunks.join(target, SIZE_BYTES, kept.cut(disk), kept.path)
    subprocess.run([need("cmp", "diffutils"), str(disk), str(target)], check=True)
    assert target.stat().st_blocks * 512 <= 8 * 4096


def damaged(chunk: Chunk, kept: Kept, data: bytes) -> str:
    """What is said of a chunk with that for its blob."""
    kept.path(chunk.blob).write_bytes(data)
    with pytest.raises(DamagedChunkError) as caught:
        chunks.expanded(kept.path(chunk.blob), chunk)
    assert caught.value.chunk == chunk
    return caught.value.brief


def test_a_chunk_that_is_not_what_it_must_be_is_refused(disk: Path, kept: Kept) -> None:
    one, other = kept.cut(disk)
    whole = kept.path(one.blob).read_bytes()
    assert "has another digest" in damaged(
        replace(one, size_bytes=5000), kept, kept.path(other.blob).read_bytes()
    )
    assert "expands to less than 4194304 bytes" in damaged(one, kept, kept.path(other.blob).read_bytes())
    assert "the chunk at 0 of 'disk'" in damaged(one, kept, whole[: len(whole) // 2])
    assert "does not decompress" in damaged(one, kept, b"no zstd at all")
    kept.path(one.blob).unlink()
    with pytest.raises(DamagedChunkError, match="is missing"):
        chunks.expanded(kept.path(one.blob), one)


def test_a_chunk_that_expands_without_end_is_cut_off(disk: Path, kept: Kept) -> None:
    """A terabyte of zeros, as zstd itself packs the beginning of it."""
    one = kept.cut(disk)[0]
    command = [need("zstd"), "-19", "-c"]
    bomb = subprocess.run(command, input=bytes(CHUNK_BYTES * 16), check=True, capture_output=True).stdout
    assert len(bomb) < 10_000
    assert "expands to more than 4194304 bytes" in damaged(one, kept, bomb)


def test_a_window_that_takes_much_memory_is_refused(disk: Path, kept: Kept) -> None:
    one = kept.cut(disk)[0]
    command = [need("zstd"), "--ultra", "-22", "--long=30", "-c"]
    wide = subprocess.run(command, input=disk.read_bytes(), check=True, capture_output=True).stdout
    assert "does not decompress" in damaged(one, kept, wide)


def test_the_chunk_after_an_extent_in_the_same_one_is_not_cut_twice(tmp_path: Path, kept: Kept) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(2 * CHUNK_BYTES)
        for at in (0, 65536, CHUNK_BYTES - 4096, CHUNK_BYTES + 65536):
            os.pwrite(file.fileno(), b"data", at)
    assert [one.offset for one in kept.cut(path)] == [0, CHUNK_BYTES]
