"""squashfs images as streams of tree entries, by way of sqfs2tar of squashfs-tools-ng.

It writes a tarball with owners, devices, hard links and extended attributes, which is read as it comes:
nothing is unpacked on the disk. Sockets, which a tarball can't hold, are left out; holes come as zeros.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, ToolError
from bangerbuild.formats.archive import DEFAULT_LIMITS, read_entries
from bangerbuild.formats.hostfile import check_is_file
from bangerbuild.formats.limits import Budget
from bangerbuild.formats.tarstream import DAMAGED_HINT, TarStream
from bangerbuild.host.process import Command, streaming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.formats.limits import UnpackLimits
    from bangerbuild.tree import Entry

MAGIC = b"hsqs"
_MEMORY_BYTES = 1 << 30
"""It holds the names of the whole tree, and a directory may be in the tree more than once."""


def command(path: Path) -> Command:
    """The command that writes the tree in `path` as a tarball, its top included."""
    return Command(("sqfs2tar", "--root-becomes", ".", str(path)), memory_bytes=_MEMORY_BYTES)


@contextmanager
def open_squashfs(
    path: Path, *, written: str, limits: UnpackLimits = DEFAULT_LIMITS
) -> Iterator[Iterator[Entry]]:
    """The entries of the image at `path`, which is not compressed as a whole.

    Raises:
        SourceError: here or while iterating: it is damaged, unpacks to more than `limits` allow, or holds an
            entry that can't be read.
        ToolError: sqfs2tar is not installed.
    """
    budget = Budget(limits, check_is_file(path, written).st_size, written)
    asked = command(path.resolve())
    with _translated(asked, path, written), streaming(asked) as tarball:
        yield read_entries(TarStream(tarball, written, budget=budget))


@contextmanager
def _translated(asked: Command, path: Path, written: str) -> Iterator[None]:
    """Name the image, and not the command, where sqfs2tar fails."""
    try:
        yield
    except ToolError as err:
        if err.details is None or not err.brief.startswith(f"'{asked}'"):
            raise
        details = err.details.replace(str(path.resolve()), written)
        raise SourceError(
            f"'{written}' can't be read as a squashfs image", details=details, hint=DAMAGED_HINT
        ) from err
