"""`tar = "FILE"`: a tarball of a whole tree, plain or compressed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.tarheader import is_header
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent
from bangerbuild.sources.files import FileContent, FileKind, head_of_named
from bangerbuild.sources.source import Content, EntryTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import OpenContext, SourceTable


@dataclass(frozen=True)
class TarSource(DeclaredSize, Independent, HostFile, FileKind):
    """A tarball; its compression is told from its content."""

    word: ClassVar[str] = "tar"
    article: ClassVar[str] = "a tarball"
    keys: ClassVar[tuple[str, ...]] = ("max_size",)

    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    """What it may unpack to; None: what is usual."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        return cls(table.file("tar"), table.size("size"), table.size("max_size"))

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        head = head_of_named(text)
        return head is not None and cls.recognises(head.plain)

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It begins with a header whose checksum is right."""
        return is_header(head)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        file = FileContent(self.path.path, self.written, self.size_bytes, self.max_size_bytes)
        with self.open_file(file, context) as content:
            yield content

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:  # no need of it
        limits = UnpackLimits(file.max_size_bytes)
        yield Content(
            EntryTree(
                file.written,
                file.size_bytes,
                lambda: open_archive(file.path, written=file.written, limits=limits),
            )
        )
