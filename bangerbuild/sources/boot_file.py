"""`kernel = "FILE"`, `initrd = "FILE"`: a boot file that is a file of the host."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.hostfile import check_is_file, opened_file
from bangerbuild.host import observed
from bangerbuild.model import Source
from bangerbuild.sources.bases import HostFile
from bangerbuild.sources.source import BootContent, BootFileKind, BootSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from bangerbuild.model import View
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

    @override
    def foresee(self, view: View, image: str, find: FindBootFile, check: Callable[[BinaryIO], None]) -> None:
        with observed.unrecorded(), opened_file(self.path.path, self.written) as file:
            check(file)

    @contextmanager
    @override
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:
        check_is_file(self.path.path, self.written)
        yield BootContent(self.path.path, self.written)
