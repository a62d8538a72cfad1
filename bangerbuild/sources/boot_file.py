"""`kernel = "FILE"`, `initrd = "FILE"`: a boot file that is a file of the host."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.hostfile import check_is_file
from bangerbuild.model import Source
from bangerbuild.sources.bases import HostFile
from bangerbuild.sources.source import BootContent, BootFileKind, BootSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import FindBootFile, OpenContext, SourceTable


@dataclass(frozen=True)
class HostBootFile(HostFile, BootSource, BootFileKind):
    """A kernel or initrd of the host."""

    word: ClassVar[str] = "path"
    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        return cls(table.file("path"))

    @override
    def inputs(self, image: str) -> tuple[str, ...]:  # it needs no other step
        return ()

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        """One role, wherever a boot file lies."""
        return (Source(role, self.path.path, self.written),)

    @contextmanager
    @override
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:
        check_is_file(self.path.path, self.written)
        yield BootContent(self.path.path, self.written)
