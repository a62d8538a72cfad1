"""`cpio = "FILE"`: a cpio archive of a whole tree, such as an initrd."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.formats.cpio import open_cpio
from bangerbuild.formats.cpioheader import is_header
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.sources.packed_tree import PackedTree
from bangerbuild.sources.source import Content, EntryTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.files import FileContent
    from bangerbuild.sources.source import OpenContext


@dataclass(frozen=True)
class CpioSource(PackedTree):
    """Concatenated cpio archives, each in a compression of its own or in none."""

    word: ClassVar[str] = "cpio"
    article: ClassVar[str] = "a cpio archive"

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It begins with a header; one of an old form, too, so that it is refused by its name."""
        return is_header(head)

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:  # no need of it
        yield Content(CpioSource.listed(file))

    @staticmethod
    @override
    def listed(file: FileContent) -> EntryTree:
        limits = UnpackLimits(file.max_size_bytes)
        return EntryTree(
            file.written,
            file.size_bytes,
            lambda: open_cpio(file.path, written=file.written, limits=limits),
        )
