"""A disk seen through its journal: its content, or the error that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.errors import FilesystemError
from tests.disk.journals import (
    ASYNC_COMMIT,
    ONES,
    Form,
    Log,
    block_of,
    content,
    replayed,
)

if TYPE_CHECKING:
    from pathlib import Path


FORMS = {
    "no checksums": Form(0, wide=False),
    "no checksums, 64bit": Form(0),
    "checksums v1": Form(1, wide=False),
    "checksums v1, 64bit": Form(1),
    "checksums v2": Form(2, wide=False),
    "checksums v2, 64bit": Form(2),
    "checksums v3": Form(3, wide=False),
    "checksums v3, 64bit": Form(3),
    "the log at the ring's end": Form(start=1020),
    "the numbers of transactions at their end": Form(sequence=ONES - 1),
    "commits that need not wait": Form(incompat=ASYNC_COMMIT),
}
OLD, NEW, NEWER = b"o", b"n", b"N"


def refuse(path: Path, message: str) -> FilesystemError:
    """The error that reading the journal is."""
    with RawFile(path) as blocks, pytest.raises(FilesystemError, match=message) as caught:
        through_journal(blocks)
    assert str(path) in caught.value.brief
    return caught.value


def text_of(path: Path, guest: str = "/f") -> bytes:
    """A file as it reads through the journal."""
    with RawFile(path) as blocks, Filesystem(through_journal(blocks), allow_unclean=True) as disk:
        return disk.read(guest) or b""


def page(letter: bytes) -> bytes:
    return letter * 4096


def letters(text: bytes, count: int) -> bytes:
    """The first byte of each of the first blocks."""
    return text[: 4096 * count : 4096]


def flip(log: Log, at: int, offset: int) -> None:
    block = bytearray(block_of(log.path, log.file_blocks[at], log.size))
    block[offset] ^= 0x55
    log.put(at, bytes(block))


def assert_marked_as_having_errors(disk: Path, expected: bytes) -> None:
    """The disk reads so, and as one with errors, as it does once e2fsck has replayed it."""
    with RawFile(disk) as blocks:
        view = through_journal(blocks)
        with pytest.raises(FilesystemError, match="marked as having errors"):
            Filesystem(view)
        with Filesystem(view, allow_unclean=True) as fs:
            assert letters(fs.read("/f") or b"", len(expected)) == expected
        copy = disk.with_suffix(".replayed")
        replayed(disk, copy)
        with RawFile(copy) as judge:
            assert content(view) == content(judge)
