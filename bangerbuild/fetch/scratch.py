"""Directories of the cache for what is under way, such as the build of an image, locked while it is.

One whose lock nobody has belonged to a process that was killed. It is removed when the next is made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.fetch import foreign_files

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def directory(parent: Path) -> Iterator[Path]:
    """A new directory until the end of the with block; others that nobody uses are removed.

    Raises:
        OSError: it can't be made.
    """
    with _locked(parent):
        _sweep(parent)
        path = Path(tempfile.mkdtemp(dir=parent))
        held = _lock(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if held is not None:
            os.close(held)


def sweep(parent: Path) -> None:
    """Remove what nobody uses.

    Raises:
        OSError: that can't be told.
    """
    with suppress(FileNotFoundError), _locked(parent):
        _sweep(parent)


def _sweep(parent: Path) -> None:
    for path in parent.iterdir():
        held = _lock(path)
        if held is not None:
            foreign_files.remove(path)
            os.close(held)


def _lock(path: Path) -> int | None:
    """A descriptor that has the lock of a directory; None: somebody else has it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


@contextmanager
def _locked(parent: Path) -> Iterator[None]:
    """Nobody else makes or removes such directories meanwhile."""
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
