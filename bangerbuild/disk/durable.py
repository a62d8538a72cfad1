"""Making files and names survive a power loss: one by one, or a whole filesystem at once for many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.process import Command, run

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

FEW = 8
"""From more on, one syncfs(2), which writes back the whole filesystem, costs less than an fsync each."""


def sync(paths: Collection[Path], filesystem: Path) -> None:
    """Wait until these files and directories, all on the filesystem of that path, are on the disk.

    Raises:
        OSError: one of them could not be written.
        ToolError: the filesystem could not be written.
    """
    if len(paths) > FEW:
        run(Command(("sync", "--file-system", str(filesystem))))
        return
    for path in paths:
        sync_one(path)


def sync_one(path: Path) -> None:
    """Wait until one file or directory is on the disk.

    Raises:
        OSError: it could not be written.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
