"""What a file is by its content, whatever its name says: a tarball or an ext4, plain or compressed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import MAGIC_BYTES, CompressionError, compression_of, decompressed
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.formats.tarheader import BLOCK_BYTES, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Form(Enum):
    """What an image is made of."""

    TAR = "tar"
    EXT4 = "ext4"


@dataclass(frozen=True)
class Content:
    """What a file is."""

    form: Form
    compression: str | None
    """`gzip`, `bzip2`, `xz`, `zstd`; None: it is plain."""


DEFAULT_LIMITS = UnpackLimits()
_HEAD_BYTES = 68 << 10
"""How much of the beginning is looked at: past where ISO 9660 and btrfs have their marks."""
_PIECE_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_ZEROS_FOR_ONE = 64
"""How many zeros count as one byte of what a file unpacks to: they take no room, but time."""
_EXT4_MAGIC = (1080, b"\x53\xef")
_DAMAGED_HINT = "fetch or make it again"
_IMAGE_HINT = "make it raw with `qemu-img convert -O raw`, and give the partition that is the root filesystem"
_PARTITION_HINT = "give the partition that is the root filesystem: `sfdisk --dump` says where it is"
_UNPACK_HINT = "unpack it, and name the result with `directory = …`"
_AGAIN_HINT = "compress it with gzip, bzip2, xz or zstd, or not at all"
_PAGE_HINT = "the address leads to a page about the file: give the file's own"

_STRANGERS: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"QFI\xfb", "a qcow2 disk", _IMAGE_HINT),
    (0, b"KDMV", "a VMDK disk", _IMAGE_HINT),
    (0, b"conectix", "a VHD disk", _IMAGE_HINT),
    (0, b"vhdxfile", "a VHDX disk", _IMAGE_HINT),
    (512, b"EFI PART", "a whole disk with partitions", _PARTITION_HINT),
    (0, b"hsqs", "a squashfs", _UNPACK_HINT),
    (0, b"XFSB", "an XFS filesystem", None),
    (0x10040, b"_BHRfS_M", "a btrfs filesystem", None),
    (0x8001, b"CD001", "a CD image", None),
    (0, b"PK\3\4", "a zip archive", _UNPACK_HINT),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK_HINT),
    (0, b"07070", "a cpio archive", _UNPACK_HINT),
    (0, b"!<arch>\n", "an ar archive, such as a Debian package", _UNPACK_HINT),
    (0, b"\x7fELF", "a program or an unpacked kernel", None),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", _AGAIN_HINT),
    (0, b"LZIP", "compressed with lzip", _AGAIN_HINT),
    (0, b"\x1f\x9d", "compressed with compress", _AGAIN_HINT),
    (0, b"\x5d\0\0", "compressed with lzma", _AGAIN_HINT),
    (510, b"\x55\xaa", "a whole disk with partitions", _PARTITION_HINT),
)


def recognise(path: Path, *, written: str) -> Content:
    """What the file at `path` is; `written` is what messages call it.

    Raises:
        SourceError: it is neither, or damaged where it begins, or can't be read.
    """
    with _plain(path, written) as (plain, compression):
        head = plain.read(_HEAD_BYTES)
    form = _form(head)
    if form is None:
        what, hint = _stranger(head)
        raise SourceError(f"{written!r} is neither a tarball nor an ext4 but {what}", hint=hint)
    return Content(form, compression)


def unpack_ext4(path: Path, target: Path, *, written: str, limits: UnpackLimits = DEFAULT_LIMITS) -> None:
    """Write a compressed ext4 to `target`, which must not exist, as it was before, with holes for zeros.

    Args:
        path: the compressed file.
        target: the new file, for its owner alone; removed on any error.
        written: what messages call it.
        limits: what it may unpack to. Zeros count little, so that a large and empty disk is none too much.

    Raises:
        SourceError: it is cut short, damaged, or unpacks to too much.
        OSError: `target` can't be written.
    """
    budget = Budget(limits, path.stat().st_size, written)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with _plain(path, written) as (plain, _):
            _write_sparse(plain, fd, budget)
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(fd)


@contextmanager
def _plain(path: Path, written: str) -> Iterator[tuple[BinaryIO, str | None]]:
    """A file's bytes as they were before it was compressed, and how it is compressed."""
    with opened_file(path, written) as file:
        compression = compression_of(file.read(MAGIC_BYTES))
        file.seek(0)
        try:
            yield (decompressed(file, compression) if compression else file), compression
        except CompressionError as err:
            raise SourceError(f"{written!r} {err.brief}", hint=_DAMAGED_HINT) from err


def _form(head: bytes) -> Form | None:
    offset, magic = _EXT4_MAGIC
    if _is_tar(head[:BLOCK_BYTES]):
        return Form.TAR
    return Form.EXT4 if head[offset : offset + len(magic)] == magic else None


def _is_tar(block: bytes) -> bool:
    if len(block) < BLOCK_BYTES or not any(block):
        return False
    try:
        parse_header(block)
    except FormatError:
        return False
    return True


def _stranger(head: bytes) -> tuple[str, str | None]:
    """What else a file is, as far as its beginning tells, and what to do about it."""
    if not head.strip(b"\0"):
        return ("empty" if not head else "nothing but zeros"), None
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page", _PAGE_HINT
    for offset, magic, what, hint in _STRANGERS:
        if head[offset : offset + len(magic)] == magic:
            return what, hint
    return f"something that begins with {head[:8]!r}", None


def _write_sparse(plain: BinaryIO, fd: int, budget: Budget) -> None:
    position = 0
    while piece := plain.read(_PIECE_BYTES):
        for is_data, start, end in _runs(piece):
            budget.spend(end - start if is_data else (end - start) // _ZEROS_FOR_ONE)
            if is_data:
                os.pwrite(fd, piece[start:end], position + start)
        position += len(piece)
    os.ftruncate(fd, position)


def _runs(piece: bytes) -> Iterator[tuple[bool, int, int]]:
    """Where a piece has data and where blocks of zeros: (is data, start, end)."""
    zeros = bytes(_BLOCK_BYTES)
    offsets = range(0, len(piece), _BLOCK_BYTES)
    for is_data, run in groupby(offsets, lambda at: not zeros.startswith(piece[at : at + _BLOCK_BYTES])):
        blocks = list(run)
        yield is_data, blocks[0], min(blocks[-1] + _BLOCK_BYTES, len(piece))
