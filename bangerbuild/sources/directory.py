"""`directory = "DIR"`: a directory of the host."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.host.home import expanded
from bangerbuild.model import NO_RECIPE, Source
from bangerbuild.sources.bases import DeclaredSize, Independent, NeverLocked
from bangerbuild.sources.source import Content, EntryTree, FilesystemKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.host.process import Program
    from bangerbuild.model import HostPath, View
    from bangerbuild.sources.source import OpenContext, SourceTable
    from bangerbuild.tree import Entry

TOP_MODE = 0o755


@dataclass(frozen=True)
class DirectorySource(DeclaredSize, Independent, NeverLocked, FilesystemKind):
    """A directory of the host. Owners become 0:0 unless `keep_owner`.

    The mode of a directory that mktemp or a umask has made is none for the `/` of a guest, in which nobody
    but root could run anything: that is 0755 unless `keep_owner`. A work disk's top, which is root's home,
    has the host's.
    """

    word: ClassVar[str] = "directory"
    keys: ClassVar[tuple[str, ...]] = ("owner",)
    programs: ClassVar[tuple[Program, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    path: HostPath
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    keep_owner: bool = field(default=False, metadata={"key": "owner"})
    top_mode: int | None = field(default=None, metadata=NO_RECIPE)
    """Of the top; None: the host's. What comes of it counts, as part of the tree."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        keep_owner = table.get("owner") == "keep"
        top_mode = None if keep_owner or table.key == "work_seed" else TOP_MODE
        return cls(table.directory("directory"), table.size("size"), keep_owner, top_mode)

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
        rules = TreeRules(keep_owner=self.keep_owner, top_mode=self.top_mode)
        return (Source(f"{role}.directory", self.path.path, self.written, rules),)

    @override
    def foreseen(self, view: View) -> Content:
        return self._content(view.epoch)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        yield self._content(context.epoch)

    def _content(self, epoch: int) -> Content:
        rules = TreeRules(keep_owner=self.keep_owner, mtime_s=epoch, top_mode=self.top_mode)

        @contextmanager
        def entries() -> Iterator[Iterator[Entry]]:
            yield walk_directory(self.path.path, rules, written=self.written)

        return Content(EntryTree(self.written, self.size_bytes, entries))
