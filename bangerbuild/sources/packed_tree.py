"""The base of sources that are one file of the host with a tree in it, such as a tarball."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.host import observed
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent
from bangerbuild.sources.files import FileContent, FileKind, file_bytes, head_of_named, is_packed
from bangerbuild.sources.source import Content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import View
    from bangerbuild.sources.source import EntryTree, OpenContext, SourceTable


SHORT_BYTES = 4 << 20
"""Of a compressed file that is looked through in a plan."""
GLANCE_BYTES = 256 << 20
"""What it may unpack to, so that this takes no time to speak of."""


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

    @property
    def _file(self) -> FileContent:
        return FileContent(self.path.path, self.written, self.size_bytes, self.max_size_bytes)

    @override
    def foreseen(self, view: View) -> Content | None:
        """Of one that would take long to unpack only its beginning is looked at."""
        with observed.unrecorded():
            tree = self.listed(self._file)
            if tree is None:
                return None
            if is_packed(self.path.path, self.written):
                tree = replace(tree, glance_bytes=GLANCE_BYTES)
            if tree.glance_bytes is None or (file_bytes(self.path.path) or 0) <= SHORT_BYTES:
                return Content(tree)
            with tree.entries() as entries:
                next(entries, None)
        return None

    @staticmethod
    def listed(file: FileContent) -> EntryTree | None:  # noqa: ARG004  # a kind may need another program
        """The entries of a file, read in this process and from its start; None: they can't be read so."""
        return None

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        with self.open_file(self._file, context) as content:
            yield content
