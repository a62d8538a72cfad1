"""Unpack a kernel file, such as a bzImage, to the plain kernel that Firecracker boots."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bangerbuild.errors import SourceError, readable_size
from bangerbuild.formats.compression import CompressionError, decompressed
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.signatures import identify
from bangerbuild.kernel import bzimage, payload, vmlinux

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_GZIP_MAGIC = b"\x1f\x8b"
_ARM64_HEAD_BYTES = 64
_EFI_ZBOOT_MAGIC = b"zimg"
_HINT = "name a bzImage (a distribution's vmlinuz) or an ELF vmlinux; for arm64, an Image"


@dataclass(frozen=True)
class Kernel:
    """The release and architecture of an unpacked kernel."""

    release: str | None
    """The output of `uname -r`; None if it is unknown."""
    architecture: Literal["x86_64", "aarch64"]


def unpack(kernel: Path, target: Path, *, written: str) -> Kernel:
    """Write the plain kernel of a bzImage, an ELF vmlinux or an arm64 Image to `target`.

    Args:
        kernel: the file; an arm64 Image may be compressed with gzip.
        target: is written; incomplete if an error is raised.
        written: the file's name in messages.

    Raises:
        SourceError: it is no kernel, is damaged or cut short, or its compression is unknown.
    """
    try:
        with opened_file(kernel, written) as file:
            head = file.read(bzimage.HEAD_BYTES)
            header = bzimage.read_header(head)
            pieces = _payload(file, header) if header else _whole(file, head)
            _write(payload.limited(pieces), target)
        return _judged(target, header)
    except FormatError as err:
        raise as_source_error(err, written) from err


def check(file: BinaryIO) -> None:
    """Check a kernel file by its headers, which is all that `unpack` reads before it unpacks anything.

    Raises:
        FormatError: it is no kernel, is cut short, or its compression is unknown.
    """
    head = file.read(bzimage.HEAD_BYTES)
    if header := bzimage.read_header(head):
        _seek_payload(file, header)
        payload.check(file.read(payload.HEAD_BYTES))
    elif head.startswith(payload.ELF_MAGIC):
        vmlinux.check_elf_file(file)
    elif not vmlinux.is_arm64_image(head):
        _check_zipped_arm64(head)


def as_source_error(err: FormatError, written: str) -> SourceError:
    """The error for a file that is no kernel."""
    return SourceError(f"'{written}' {err.brief}", hint=err.hint or _HINT)


def _seek_payload(file: BinaryIO, header: bzimage.BzImageHeader) -> None:
    if header.payload_bytes > payload.LIMIT_BYTES:
        raise FormatError(
            f"states a payload of {readable_size(header.payload_bytes)}, more than any kernel has"
        )
    end, size_bytes = header.payload_offset + header.payload_bytes, file.seek(0, io.SEEK_END)
    if size_bytes < end:
        raise FormatError(f"is cut short: its payload ends at byte {end}, the file at {size_bytes}")
    file.seek(header.payload_offset)


def _payload(file: BinaryIO, header: bzimage.BzImageHeader) -> Iterator[bytes]:
    _seek_payload(file, header)
    yield from payload.plain(file.read(header.payload_bytes))


def _whole(file: BinaryIO, head: bytes) -> Iterator[bytes]:
    file.seek(0)
    if head.startswith(payload.ELF_MAGIC) or vmlinux.is_arm64_image(head):
        yield from payload.pieces_of(file)
    else:
        _check_zipped_arm64(head)
        try:
            yield from payload.pieces_of(decompressed(file, "gzip"))
        except CompressionError as err:
            raise FormatError(err.brief) from err


def _check_zipped_arm64(head: bytes) -> None:
    if not (head.startswith(_GZIP_MAGIC) and vmlinux.is_arm64_image(_unzipped_head(head))):
        raise _no_kernel(head)


def _unzipped_head(head: bytes) -> bytes:
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(head)).read(_ARM64_HEAD_BYTES)
    except (EOFError, OSError, zlib.error):
        return b""


def _no_kernel(head: bytes) -> FormatError:
    if not head:
        return FormatError("is no kernel: it is empty")
    if head.startswith(_EFI_ZBOOT_MAGIC, 4):
        return FormatError(
            "is a kernel in a compressed EFI image (CONFIG_EFI_ZBOOT), which can't be unpacked here"
        )
    seen = identify(head)
    return FormatError(f"is no kernel: it looks like {seen.what}" if seen else "is no kernel")


def _write(pieces: Iterator[bytes], target: Path) -> None:
    with target.open("wb") as file:
        for piece in pieces:
            file.write(piece)


def _judged(target: Path, header: bzimage.BzImageHeader | None) -> Kernel:
    with target.open("rb") as file:
        is_arm64 = header is None and vmlinux.is_arm64_image(file.read(_ARM64_HEAD_BYTES))
    if not is_arm64:
        vmlinux.check_elf(target)
    release = header.release if header else None
    return Kernel(release or vmlinux.release_of(target), "aarch64" if is_arm64 else "x86_64")
