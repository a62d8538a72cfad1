"""squashfs images as streams of tree entries: owners, devices, hard links, extended attributes, holes.

An image is never held in memory as a whole, and nothing is unpacked on the disk. Sockets are left out: one
without the program that made it is of no use.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.formats.squashfs import superblock
from bangerbuild.formats.squashfs.content import Expander
from bangerbuild.formats.squashfs.metadata import Metadata
from bangerbuild.formats.squashfs.stream import Stream
from bangerbuild.formats.squashfs.walk import Walk
from bangerbuild.formats.tarstream import DAMAGED_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.tree import Entry

DEFAULT_LIMITS = UnpackLimits()


@contextmanager
def open_squashfs(
    path: Path, *, written: str, limits: UnpackLimits = DEFAULT_LIMITS
) -> Iterator[Iterator[Entry]]:
    """The entries of the image at `path`, which is not compressed as a whole.

    A directory comes before what is in it. The first name of a file that has several comes as the file, the
    others as hard links to that.

    Raises:
        SourceError: here or while iterating: it is damaged, unpacks to more than `limits` allow, or holds an
            entry that can't be read.
    """

    def told(err: SourceError, path: str = "") -> SourceError:
        details = f"'{path}' {err.brief}" if path else f"it {err.brief}"
        brief = f"'{written}' can't be read as a squashfs image"
        return SourceError(brief, details=details, hint=err.hint or DAMAGED_HINT)

    with opened_file(path, written, directory_hint="name it with `directory = …`") as file:
        fd, size_bytes = file.fileno(), os.fstat(file.fileno()).st_size
        budget = Budget(limits, size_bytes, written)
        try:
            found = superblock.parse(file.read(superblock.BYTES), size_bytes)
            metadata = Metadata(fd, found)
            walk = Walk(metadata, found, budget)
        except (FormatError, CompressionError) as err:
            raise told(err) from err
        with Expander(fd, found, metadata, budget) as expander:
            stream = Stream(expander, told)
            yield stream.entries(walk.entries(stream))
