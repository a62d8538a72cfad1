"""`squashfs = "FILE"`: a squashfs image of a whole tree."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.squashfs.image import open_squashfs
from bangerbuild.formats.squashfs.superblock import MAGIC
from bangerbuild.host import observed
from bangerbuild.sources.files import head_of, unpack_disk
from bangerbuild.sources.packed_tree import PackedTree
from bangerbuild.sources.source import Content, EntryTree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.model import View
    from bangerbuild.sources.files import FileContent, Head
    from bangerbuild.sources.source import OpenContext


@dataclass(frozen=True)
class SquashfsSource(PackedTree):
    """An image of version 4, in any compression but LZO."""

    word: ClassVar[str] = "squashfs"
    article: ClassVar[str] = "a squashfs image"

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It has the magic number (fs/squashfs/squashfs_fs.h)."""
        return head.startswith(MAGIC)

    @override
    def foreseen(self, view: View) -> None:
        """Of one that is compressed once more the beginning is looked at, of another the top of its tree."""
        with observed.unrecorded():
            if _recognised(self.path.path, self.written).compression is None:
                with open_squashfs(self.path.path, written=self.written) as entries:
                    next(entries)

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:
        """One that is compressed once more is unpacked first: it can't be read from its start to its end."""
        limits = UnpackLimits(file.max_size_bytes)
        path = _plain(file, limits, context)
        yield Content(
            EntryTree(
                file.written,
                file.size_bytes,
                lambda: open_squashfs(path, written=file.written, limits=limits),
            )
        )


def _recognised(path: Path, written: str) -> Head:
    head = head_of(path, written)
    if not SquashfsSource.recognises(head.plain):
        raise head.refusal(written, "it is no squashfs image")
    return head


def _plain(file: FileContent, limits: UnpackLimits, context: OpenContext) -> Path:
    head = _recognised(file.path, file.written)
    if head.compression is None:
        return file.path
    unpacked = context.staging / "unpacked.squashfs"
    unpack_disk(file.path, unpacked, written=file.written, limits=limits)
    return unpacked
