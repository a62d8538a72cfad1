"""`kernel = "FILE"`, `initrd = "FILE"`: a boot file that is a file of the host."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.formats.hostfile import check_is_file
from bangerbuild.model import Source
from bangerbuild.sources.bases import HostFile
from bangerbuild.sources.source import BootContent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import FindBootFile, OpenContext, SourceTable


@dataclass(frozen=True)
class HostBootFile(HostFile):
    """A kernel or initrd of the host."""

    word: ClassVar[str] = "path"
    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, table: SourceTable) -> Self | None:
        """See BootSource."""
        return cls(table.file("path"))

    def inputs(self, image: str) -> tuple[str, ...]:  # noqa: ARG002  # it needs no other step
        """See BootSource."""
        return ()

    def reads(self, role: str) -> tuple[Source, ...]:
        """See DeclaredSource: one role, wherever a boot file lies."""
        return (Source(role, self.path.path, self.written),)

    @contextmanager
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:  # noqa: ARG002
        """See BootSource."""
        check_is_file(self.path.path, self.written)
        yield BootContent(self.path.path, self.written)
