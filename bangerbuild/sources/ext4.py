"""`ext4 = "FILE"`: an image of an ext2, ext3 or ext4 filesystem, cloned as it is."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import superblock
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.sources.bases import HostFile, Independent
from bangerbuild.sources.files import FileContent, FileKind, file_bytes, head_of_named, unpack_disk
from bangerbuild.sources.source import Content, DiskImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import OpenContext, SourceTable


@dataclass(frozen=True)
class Ext4Source(Independent, HostFile, FileKind):
    """A filesystem of the host, which a larger `size` grows."""

    word: ClassVar[str] = "ext4"
    article: ClassVar[str] = "an ext4"
    keys: ClassVar[tuple[str, ...]] = ()
    parts_from_bytes: ClassVar[int | None] = 4 << 30
    """Smaller ones have few holes, and the digests that they always had."""

    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        path = table.file("ext4")
        least_bytes = file_bytes(path.path)
        return cls(path, table.size("size", least_bytes=least_bytes, what=f"'{path.written}'"))

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        """A compressed one is none, as `open` takes none."""
        head = head_of_named(text)
        return head is not None and head.compression is None and cls.recognises(head.plain)

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It has the magic number of a superblock (fs/ext4/ext4.h)."""
        return superblock.has_magic(head)

    @property
    @override
    def known_bytes(self) -> int | None:
        return self.size_bytes if self.size_bytes is not None else file_bytes(self.path.path)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:  # no need of it
        """A compressed one is not unpacked: its size must be known beforehand."""
        yield Content(DiskImage(self.path.path, self.written, self.size_bytes))

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:
        """It is copied with holes for zeros, as no server sends holes."""
        unpacked = context.staging / "unpacked.ext4"
        unpack_disk(file.path, unpacked, written=file.written, limits=UnpackLimits(file.max_size_bytes))
        yield Content(DiskImage(unpacked, file.written, file.size_bytes, is_ours=True))
