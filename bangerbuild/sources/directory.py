"""`directory = "DIR"`: a directory of the host."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.host.home import expanded
from bangerbuild.model import Source
from bangerbuild.sources.bases import DeclaredSize, Independent, NeverLocked
from bangerbuild.sources.source import Content, EntryTree, FilesystemKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.host.process import Program
    from bangerbuild.model import HostPath
    from bangerbuild.sources.source import OpenContext, SourceTable
    from bangerbuild.tree import Entry


@dataclass(frozen=True)
class DirectorySource(DeclaredSize, Independent, NeverLocked, FilesystemKind):
    """A directory of the host. Owners become 0:0 unless `keep_owner`."""

    word: ClassVar[str] = "directory"
    keys: ClassVar[tuple[str, ...]] = ("owner",)
    programs: ClassVar[tuple[Program, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    path: HostPath
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    keep_owner: bool = field(default=False, metadata={"key": "owner"})

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        return cls(table.directory("directory"), table.size("size"), table.get("owner") == "keep")

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        try:
            return expanded(text).is_dir()
        except (OSError, RuntimeError):  # it is told when the text is read as a path
            return False

    @property
    @override
    def written(self) -> str:
        return self.path.written

    @property
    @override
    def host_paths(self) -> tuple[Path, ...]:
        return (self.path.path,)

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        """The whole tree."""
        rules = TreeRules(keep_owner=self.keep_owner)
        return (Source(f"{role}.directory", self.path.path, self.written, rules),)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        rules = TreeRules(keep_owner=self.keep_owner, mtime_s=context.epoch)

        @contextmanager
        def entries() -> Iterator[Iterator[Entry]]:
            yield walk_directory(self.path.path, rules, written=self.written)

        yield Content(EntryTree(self.written, self.size_bytes, entries))
