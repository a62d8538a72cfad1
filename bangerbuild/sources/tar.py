"""`tar = "FILE"`: a tarball of a whole tree, plain or compressed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.tarheader import is_header
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent
from bangerbuild.sources.files import FileContent, claims_file
from bangerbuild.sources.source import Content, EntryTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import OpenContext, SourceTable


@dataclass(frozen=True)
class TarSource(DeclaredSize, Independent, HostFile):
    """A tarball; its compression is told from its content."""

    word: ClassVar[str] = "tar"
    article: ClassVar[str] = "a tarball"
    keys: ClassVar[tuple[str, ...]] = ("max_size",)

    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    """What it may unpack to; None: what is usual."""

    @classmethod
    def read(cls, table: SourceTable) -> Self | None:
        """See ImageSource."""
        return cls(table.file("tar"), table.size("size"), table.size("max_size"))

    @classmethod
    def claims(cls, text: str) -> bool:
        """See ImageSource."""
        return claims_file(cls, text)

    @staticmethod
    def recognises(head: bytes) -> bool:
        """See FileKind: it begins with a header whose checksum is right."""
        return is_header(head)

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[Content]:
        """See ImageSource."""
        file = FileContent(self.path.path, self.written, self.size_bytes, self.max_size_bytes)
        with self.open_file(file, context) as content:
            yield content

    @staticmethod
    @contextmanager
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:  # noqa: ARG004  # no need of it
        """See FileKind."""
        limits = UnpackLimits(file.max_size_bytes)
        yield Content(
            EntryTree(
                file.written,
                file.size_bytes,
                lambda: open_archive(file.path, written=file.written, limits=limits),
            )
        )
