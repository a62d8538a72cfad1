"""The base of sources that are one file of the host with a tree in it, such as a tarball."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.model import NO_RECIPE
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent
from bangerbuild.sources.files import FileContent, FileKind, head_of_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import Content, OpenContext, SourceTable


@dataclass(frozen=True)
class PackedTree(DeclaredSize, Independent, HostFile, FileKind):
    """A file with a tree; `recognises` and `open_file` are its kind's."""

    keys: ClassVar[tuple[str, ...]] = ("max_size",)

    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    """What it may unpack to; None: what is usual."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        return cls(table.file(cls.word), table.size("size"), table.size("max_size"))

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        head = head_of_named(text)
        return head is not None and cls.recognises(head.plain)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        file = FileContent(self.path.path, self.written, self.size_bytes, self.max_size_bytes)
        with self.open_file(file, context) as content:
            yield content
