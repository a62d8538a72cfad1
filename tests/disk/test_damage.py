"""What a damaged or hostile guest can hold is a plain error: no endless loop, no memory without bound."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import BangerError, FilesystemError
from tests.disk.ext4_tools import NOW, make_ext4
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_larger_than_memory_is_read_in_pieces_only(disk: Path) -> None:
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.write_file("/f", b"start")
        ino = fs.nodes.child(2, b"f")
        inode = fs.nodes.inode(ino)
        inode.size_bytes = 1 << 40
        fs.nodes.save(ino, inode)
        with pytest.raises(FilesystemError, match="has 1 TiB, too much to read at once"):
            fs.read("/f")
        first = next(fs.read_chunks("/f") or iter(()))
    assert first.rstrip(b"\0") == b"start"


def test_a_symlink_longer_than_a_block_is_damage(disk: Path) -> None:
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.make_symlink("/l", "x" * 100)
        ino = fs.nodes.child(2, b"l")
        inode = fs.nodes.inode(ino)
        inode.size_bytes = 1 << 40
        fs.nodes.save(ino, inode)
        with pytest.raises(
            FilesystemError, match=r"is damaged: inode .* is a symlink of 1099511627776 bytes"
        ):
            fs.read("/l")


def test_a_directory_inside_itself_is_damage(disk: Path) -> None:
    with RawFile(disk, writable=True) as blocks:
        with Filesystem(blocks, writable=True, now=NOW) as fs:
            fs.make_directory("/a/b")
            above = fs.nodes.child(2, b"a")
            fs.nodes.handle.link(fs.nodes.child(above, b"b"), b"loop", above, 2)
        with Filesystem(blocks) as fs, pytest.raises(FilesystemError, match=r"directory \d+ has two names"):
            list(fs.walk())
        fs = Filesystem(blocks, writable=True, now=NOW)
        with pytest.raises(FilesystemError, match=r"directory \d+ is inside itself"):
            fs.remove("/a", recursive=True)
        fs.abandon()


@pytest.fixture(scope="module")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small filled filesystem without checksums, so that damage is not noticed at once."""
    path = tmp_path_factory.mktemp("damage") / "disk.ext4"
    make_ext4(path, "-b", "1024", "-O", "^metadata_csum,^has_journal", "-N", "128", size="4M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.write_file("/etc/hostname", b"a")
        fs.make_symlink("/etc/link", "x" * 100)
        for i in range(40):
            fs.write_file(f"/usr/{'n' * 30}{i}", b"x" * i * 1500, xattrs={"user.a": b"v" * 200})
    return path.read_bytes()


def use(blocks: RawFile) -> None:
    """Read everything, then change a little of it."""
    with Filesystem(blocks) as fs:
        for entry in fs.walk():
            while entry.content and entry.size_bytes < 1 << 24 and entry.content.read(1 << 20):
                pass
    with Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.write_file("/etc/hostname", b"x")
        fs.write_file("/new/a/b", b"y" * 9000)
        fs.remove("/usr", recursive=True)


@settings(SHARED_FIXTURES, max_examples=60)
@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 30))
def test_damage_anywhere_ends_in_an_error_of_ours_or_in_none(
    unprotected: bytes, tmp_path: Path, seed: int, count: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - damage, not cryptography
    damaged = bytearray(unprotected)
    used = [at for at in range(0, len(damaged), 1024) if any(damaged[at : at + 1024])]
    for _ in range(count):
        damaged[chance.choice(used) + chance.randrange(1024)] = chance.randrange(256)
    path = tmp_path / "damaged.ext4"
    path.write_bytes(damaged)
    with RawFile(path, writable=True, durable=False) as blocks:
        try:
            use(blocks)
        except BangerError as err:
            assert err.brief  # noqa: PT017 - no error is as good
    assert path.stat().st_size == len(unprotected)
