"""`tar = "FILE"`: a tarball of a whole tree, plain or compressed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.tarheader import is_header
from bangerbuild.sources.packed_tree import PackedTree
from bangerbuild.sources.source import Content, EntryTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.files import FileContent
    from bangerbuild.sources.source import OpenContext


@dataclass(frozen=True)
class TarSource(PackedTree):
    """A tarball; its compression is told from its content."""

    word: ClassVar[str] = "tar"
    article: ClassVar[str] = "a tarball"

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It begins with a header whose checksum is right."""
        return is_header(head)

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:  # no need of it
        yield Content(TarSource.listed(file))

    @staticmethod
    @override
    def listed(file: FileContent) -> EntryTree:
        limits = UnpackLimits(file.max_size_bytes)
        return EntryTree(
            file.written,
            file.size_bytes,
            lambda: open_archive(file.path, written=file.written, limits=limits),
        )
