"""Filesystems of tests, opened to be written, and what is refused of them."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import ALONE, DiskMount, EntryType
from tests.disk.ext4_tools import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


BARE = ("-O", "^metadata_csum")
SECOND = 1_000_000_000


def refuse(path: Path, message: str, use: Callable[[Filesystem], object]) -> None:
    """What is asked for is refused in these words, with a hint, and nothing is written."""
    before = path.read_bytes()
    with RawFile(path, writable=True) as blocks:
        disk = Filesystem(blocks, writable=True, now=NOW)
        with pytest.raises(FilesystemError, match=message) as caught:
            use(disk)
        disk.abandon()
    assert f"'{path}'" in caught.value.brief
    assert caught.value.hint
    assert path.read_bytes() == before


def noise(seed: int, length: int) -> bytes:
    """Bytes that look like chance and are the same each time."""
    return hashlib.shake_256(bytes([seed])).digest(length)


@contextmanager
def opened(path: Path, place: DiskMount = ALONE) -> Iterator[Filesystem]:
    with (
        RawFile(path, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=NOW, place=place) as fs,
    ):
        yield fs


def make_node(
    fs: Filesystem,
    path: str,
    kind: EntryType,
    *,
    mode: int = 0o600,
    device: tuple[int, int] = (0, 0),
    uid: int = 0,
) -> None:
    """Make a device, FIFO or socket, as a guest would; what is there is replaced."""
    place = fs._clear(path)
    inode = fs.nodes.new(kind, mode, uid, 0, None)
    if kind in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}:
        inode.device = device
    ino = fs.nodes.claim(place.directory, inode)
    fs.nodes.save(ino, inode)
    fs._finish(place, path, ino, kind, {})
