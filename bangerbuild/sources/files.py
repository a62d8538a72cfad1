"""Sources that are one file, such as a tarball: tell its kind by its first bytes, and unpack a disk image."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Protocol

from bangerbuild.disk.clone import runs
from bangerbuild.errors import SourceError
from bangerbuild.formats import signatures
from bangerbuild.formats.compression import MAGIC_BYTES, CompressionError, compression_of, decompressed
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.limits import Budget
from bangerbuild.host.home import expanded
from bangerbuild.sources.source import FilesystemKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.formats.limits import UnpackLimits
    from bangerbuild.sources.source import Content, OpenContext

_PIECE_BYTES = 1 << 20
_ZEROS_FOR_ONE = 64
"""How many zeros count as one byte of what a file unpacks to: they take no room, but time."""
_DAMAGED_HINT = "fetch or make it again"


@dataclass(frozen=True)
class FileContent:
    """A file of unknown origin that holds a source, and what the manifest says of it."""

    path: Path
    written: str
    """What messages call it."""
    size_bytes: int | None
    max_size_bytes: int | None
    partition: str = "auto"
    """Which partition of a disk image is meant."""


class FileKind(FilesystemKind, Protocol):
    """A kind of source that is one file, so that it may lie behind an address too."""

    article: ClassVar[str]
    """What such a file is called, with its article: `a tarball`."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Whether a file that begins so, after decompression, is of this kind."""

    @staticmethod
    def notes_of(file: FileContent) -> tuple[str, ...]:  # noqa: ARG004  # most have nothing to say
        """What there is to say of what will be taken, as far as its beginning tells.

        Raises:
            SourceError, FilesystemError, ToolError: `open_file` is known to fail so.
        """
        return ()

    @staticmethod
    def open_file(file: FileContent, context: OpenContext) -> AbstractContextManager[Content]:
        """What such a file holds, compressed or not; errors as `ImageSource.open`."""


def kind_of(path: Path, *, written: str, kinds: Collection[type[FileKind]]) -> type[FileKind]:
    """Which of these kinds the file at `path` is, compressed or not.

    Raises:
        SourceError: it is none of them, is damaged where it begins, or can't be read.
    """
    head = head_of(path, written)
    for kind in kinds:
        if kind.recognises(head.plain):
            return kind
    articles = " nor ".join(kind.article for kind in kinds)
    raise head.refusal(written, f"it is neither {articles}")


@dataclass(frozen=True)
class Head:
    """How a file begins."""

    plain: bytes
    """At most `HEAD_BYTES`, decompressed."""
    compression: str | None
    """None: the file is not compressed."""
    tail: bytes = b""
    """How it ends: at most `TAIL_BYTES`, if it is not compressed."""

    def refusal(self, written: str, why: str) -> SourceError:
        """The error for a file of no wanted kind: what it is, why that will not do, and the way out."""
        known = signatures.identify(self.plain, self.tail) or signatures.named(written)
        found = known or signatures.described(self.plain, self.tail)
        verb = "holds" if found.what == signatures.ZEROS else "is"
        brief = f"'{written}' {verb} {found.what}{signatures.inside(self.compression)}: {why}"
        return SourceError(brief, hint=found.way_out_of(self.compression))


def head_of(path: Path, written: str) -> Head:
    """How the file at `path` begins.

    Raises:
        SourceError: it is no regular file, is damaged where it begins, or can't be read.
    """
    with opened_file(path, written) as file, _plain(file, written) as (plain, compression):
        head = plain.read(signatures.HEAD_BYTES)
        if compression is None:
            plain.seek(-min(signatures.TAIL_BYTES, plain.seek(0, os.SEEK_END)), os.SEEK_END)
        return Head(head, compression, b"" if compression else plain.read())


def is_packed(path: Path, written: str) -> bool:
    """Whether a file is compressed: all before a byte has to be read then."""
    with opened_file(path, written) as file:
        return compression_of(file.read(MAGIC_BYTES)) is not None


def head_of_named(text: str) -> Head | None:
    """How the file begins that a command line's text names; None if that can't be told."""
    try:
        path = expanded(text)
        return head_of(path, text) if path.is_file() else None
    except (SourceError, OSError, RuntimeError):
        return None


def file_bytes(path: Path) -> int | None:
    """The size of a file; None if there is none that can be looked at, which was reported before."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def unpack_disk(
    path: Path,
    target: Path,
    *,
    written: str,
    limits: UnpackLimits,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a disk image to `target`, which must not exist, decompressed and with holes for zeros.

    Args:
        path: the file, compressed or not.
        target: the new file, for its owner alone; removed on any error.
        written: what messages call it.
        limits: what it may unpack to. Zeros count little, so that a large and empty disk is none too much.
        progress: is told how many bytes of the file are read, and how many it has.

    Raises:
        SourceError: it is cut short, damaged, or unpacks to too much.
        OSError: `target` can't be written.
    """
    total = path.stat().st_size
    budget = Budget(limits, total, written)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with opened_file(path, written) as file, _plain(file, written) as (plain, _):
            _write_sparse(plain, fd, budget, lambda: progress(min(file.tell(), total), total))
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(fd)


@contextmanager
def _plain(file: BinaryIO, written: str) -> Iterator[tuple[BinaryIO, str | None]]:
    """A file's bytes as they were before it was compressed, and how it is."""
    compression = compression_of(file.read(MAGIC_BYTES))
    file.seek(0)
    try:
        yield (decompressed(file, compression) if compression else file), compression
    except CompressionError as err:
        raise SourceError(f"'{written}' {err.brief}", hint=_DAMAGED_HINT) from err


def _write_sparse(plain: BinaryIO, fd: int, budget: Budget, done: Callable[[], None]) -> None:
    position = 0
    while piece := plain.read(_PIECE_BYTES):
        for is_data, start, end in runs(piece):
            budget.spend(end - start if is_data else (end - start) // _ZEROS_FOR_ONE)
            if is_data:
                os.pwrite(fd, piece[start:end], position + start)
        position += len(piece)
        done()
    os.ftruncate(fd, position)
