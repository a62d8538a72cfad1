from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.growing import undo_beside
from bangerbuild.disk.libext2fs import crc32c
from bangerbuild.disk.undo_file import Stretch, put_back, stretches
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import clone
from tests.disk.growths import GROWTHS, PLAIN, Growth, grow_killed, made
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = 4096
HEADER_BYTES = 512


class Undo:
    """An undo file as `undo_io.c` writes it, with whatever is wrong in it."""

    def __init__(self) -> None:
        self.data = b""
        self.keys: list[bytes] = []
        self.claimed_keys: int | None = None
        self.block_bytes = BLOCK
        self.fs_block_bytes = BLOCK

    def add(self, fs_block: int, content: bytes, *, size: int | None = None) -> None:
        key = struct.pack(
            "<QII", fs_block, crc32c(0xFFFFFFFF, content), len(content) if size is None else size
        )
        self.keys.append(key)
        self.data += content.ljust(-(-len(content) // BLOCK) * BLOCK, b"\0")

    def header(self) -> bytes:
        keys = len(self.keys) if self.claimed_keys is None else self.claimed_keys
        fields = (b"E2UNDO02", keys, 1, 2, self.block_bytes, self.fs_block_bytes)
        raw = struct.pack("<8s3Q2I", *fields).ljust(HEADER_BYTES - 4, b"\0")
        return raw + struct.pack("<I", crc32c(0xFFFFFFFF, raw))

    def key_block(self) -> bytes:
        raw = (struct.pack("<IIQ", 0xCADECADE, 0, 0) + b"".join(self.keys)).ljust(BLOCK, b"\0")
        return raw[:4] + struct.pack("<I", crc32c(0xFFFFFFFF, raw)) + raw[8:]

    def write(self, path: Path) -> Path:
        path.write_bytes(self.header().ljust(2 * BLOCK, b"\0") + self.key_block() + self.data)
        return path


def found(path: Path) -> tuple[Stretch, ...]:
    with RawFile(path) as undo:
        return stretches(undo)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.undo"


def test_each_key_is_a_stretch_with_its_data_behind_the_key_block(path: Path) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK)
    undo.add(1, b"b" * 3 * BLOCK)
    undo.add(90, b"c" * 100)
    assert found(undo.write(path)) == (
        Stretch(7 * BLOCK, 3 * BLOCK, BLOCK),
        Stretch(BLOCK, 4 * BLOCK, 3 * BLOCK),
        Stretch(90 * BLOCK, 7 * BLOCK, 100),
    )


@pytest.mark.parametrize("growth", GROWTHS, ids=lambda growth: growth.name)
def test_it_says_what_e2undo_says(growth: Growth, tmp_path: Path) -> None:
    disk = made(tmp_path / "disk", growth)
    assert grow_killed(disk, growth, 40)
    listed = subprocess.run(
        [need("e2undo", "e2fsprogs"), "-nvf", undo_beside(disk), disk],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    theirs = re.findall(r"Replayed block of size (\d+) from (\d+) to (\d+)", listed)
    ours = found(undo_beside(disk))
    assert len(ours) > 2
    assert sorted((int(to) * BLOCK, int(place) * BLOCK, int(size)) for size, place, to in theirs) == sorted(
        ours
    )


def test_more_keys_than_a_block_holds_go_on_behind_their_data(path: Path) -> None:
    per_block = BLOCK // 16 - 1
    first, second = Undo(), Undo()
    for number in range(per_block):
        first.add(number, bytes([number % 256]) * BLOCK)
    second.add(1000, b"x" * BLOCK)
    first.claimed_keys = per_block + 1
    first.write(path)
    with path.open("ab") as file:
        file.write(second.key_block() + second.data)
    assert found(path)[-1] == Stretch(1000 * BLOCK, (per_block + 4) * BLOCK, BLOCK)
    assert len(found(path)) == per_block + 1


# what a kill leaves


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\0" * HEADER_BYTES, bytes(3 * BLOCK)])
def test_before_its_header_is_written_it_holds_nothing(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert found(path) == ()


def test_a_key_that_the_header_does_not_count_yet_is_not_there(path: Path) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK)
    undo.add(8, b"b" * BLOCK)
    undo.claimed_keys = 1
    assert found(undo.write(path)) == (Stretch(7 * BLOCK, 3 * BLOCK, BLOCK),)


@pytest.mark.parametrize("missing", [1, BLOCK])
def test_the_last_block_of_the_last_key_may_be_missing(path: Path, missing: int) -> None:
    undo = Undo()
    undo.add(7, b"a" * 2 * BLOCK)
    undo.write(path)
    with path.open("r+b") as file:
        file.truncate(5 * BLOCK - missing)
    assert found(path) == (Stretch(7 * BLOCK, 3 * BLOCK, 2 * BLOCK - missing),)


# damage


def assert_damaged(path: Path) -> None:
    with pytest.raises(FilesystemError, match="is damaged"):
        found(path)


def test_more_than_a_block_missing_is_damage(path: Path) -> None:
    undo = Undo()
    undo.add(7, b"a" * 3 * BLOCK)
    undo.write(path)
    with path.open("r+b") as file:
        file.truncate(5 * BLOCK - 1)
    assert_damaged(path)


def test_data_missing_from_a_key_before_the_last_is_damage(path: Path) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK)
    undo.add(9, b"b" * BLOCK)
    undo.write(path)
    with path.open("r+b") as file:
        file.truncate(4 * BLOCK - 1)
    assert_damaged(path)


@settings(max_examples=300)
@given(bit=st.integers(0, (4 * BLOCK + BLOCK) * 8 - 1))
def test_a_wrong_bit_is_found_wherever_it_counts(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK)
    undo.add(9, b"b" * BLOCK)
    path = undo.write(tmp_path_factory.mktemp("undo") / "undo")
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    if HEADER_BYTES * 8 <= bit < 2 * BLOCK * 8:  # behind the header, and the copy of the superblock
        assert len(found(path)) == 2
    else:
        assert_damaged(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("claimed_keys", 3),
        ("claimed_keys", (1 << 64) - 1),
        ("block_bytes", 0),
        ("block_bytes", 512),
        ("block_bytes", (1 << 20) + 1),
        ("block_bytes", 8192),
        ("fs_block_bytes", 0),
    ],
)
def test_a_header_that_can_not_be_is_damage(path: Path, field: str, value: int) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK)
    undo.add(9, b"b" * BLOCK)
    setattr(undo, field, value)
    undo.write(path)
    assert_damaged(path)


@pytest.mark.parametrize("size", [1 << 31, (1 << 32) - 1])
def test_a_key_of_an_absurd_size_is_damage_and_is_not_read_into_memory(path: Path, size: int) -> None:
    undo = Undo()
    undo.add(7, b"a" * BLOCK, size=size)
    undo.write(path)
    assert_damaged(path)


@given(content=st.binary(min_size=HEADER_BYTES, max_size=4000))
def test_what_is_no_undo_file_is_damage(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("undo") / "undo"
    path.write_bytes(b"x" + content)
    assert_damaged(path)


# putting back


def test_old_content_is_put_back_up_to_the_old_end_only(tmp_path: Path, path: Path) -> None:
    undo = Undo()
    undo.add(1, b"a" * BLOCK)
    undo.add(3, b"b" * 3 * BLOCK)
    undo.add(50, b"c" * BLOCK)
    undo.write(path)
    disk = tmp_path / "disk"
    disk.write_bytes(b"-" * 4 * BLOCK)
    with RawFile(disk, writable=True) as blocks:
        put_back(path, blocks, 4 * BLOCK)
    assert disk.read_bytes() == b"-" * BLOCK + b"a" * BLOCK + b"-" * BLOCK + b"b" * BLOCK


def test_nothing_is_put_back_from_a_damaged_file(tmp_path: Path, path: Path) -> None:
    undo = Undo()
    undo.add(1, b"a" * BLOCK)
    undo.add(2, b"b" * BLOCK)
    undo.write(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 * BLOCK))
    with RawFile(disk, writable=True) as blocks, pytest.raises(FilesystemError, match="is damaged"):
        put_back(path, blocks, 4 * BLOCK)
    assert disk.read_bytes() == bytes(4 * BLOCK)


def test_putting_back_is_what_e2undo_does(tmp_path: Path) -> None:
    disk, other = made(tmp_path / "disk", PLAIN), tmp_path / "other"
    old = disk.read_bytes()
    assert grow_killed(disk, PLAIN, 45)
    clone(disk, other)
    with RawFile(disk, writable=True) as blocks:
        put_back(undo_beside(disk), blocks, len(old))
    subprocess.run(
        [need("e2undo", "e2fsprogs"), "-f", undo_beside(disk), other], capture_output=True, check=False
    )
    ours, theirs = (file.read_bytes()[: len(old)] for file in (disk, other))
    assert ours[BLOCK:] == theirs[BLOCK:] == old[BLOCK:]  # e2undo leaves a mark in the superblock
