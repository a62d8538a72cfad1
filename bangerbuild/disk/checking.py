"""Judging a disk without changing it: e2fsck on the file itself, or on a private copy that it can read.

e2fsck knows no exception stores and no redo logs, and what a killed guest left in its journal it would call
damage. Such a disk is put together, mended and replayed in a copy, by its format:

    store, shut down     metadata of its base (copied once), and all of the store    little is copied
    store, killed guest  its whole base, and all of the store; replayed
    raw, shut down       nothing: it is read where it lies
    raw, otherwise       the whole disk; mended, replayed
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.disk import tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import StoredDisk
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.tree import DiskMount

E2FSCK_GAVE_UP = {8, 12}
"""Its exit codes where it can't go on: it says what it met."""
_NOISE = re.compile(
    r"e2fsck 1\.|Pass \d|[A-Z][^.?]*\? no$|IGNORED|Warning: skipping journal|Warning!  .* is mounted|"
    r".*\*{5} WARNING|.*\d+/\d+ files \(|\s*$"
)
"""What e2fsck prints beside what it finds."""
_QUESTION = re.compile(r"\s+[A-Z][^.?]*\? no$")
"""And behind it."""

_UNMENDED = re.compile(r"(?:Fix|Clear)\? no\n")
_HARMLESS = ("is in the future.", ")")
"""How e2fsck ends what is said of a clock, and of an extent tree that could have fewer levels."""


@dataclass(frozen=True)
class CheckRoom:
    """What checking a disk may use."""

    directory: Path
    """Where a copy may be made, best on the disk's own filesystem; nothing else is in it."""
    skeletons: Skeletons
    """Of the bases of all disks that are checked."""
    epoch: int
    """Seconds since 1970 for what e2fsck writes into a copy."""


@dataclass(frozen=True)
class Readable:
    """A disk as a raw ext4 with nothing to replay."""

    disk: StoredDisk
    path: Path
    """The disk itself if it is that, else a private copy."""
    content: Callable[[DiskMount], AbstractContextManager[OpenedDisk]] | None = None
    """How to read what is in its files, where `path` has only what e2fsck reads."""

    @contextmanager
    def opened_filesystem(self, place: DiskMount) -> Iterator[OpenedDisk]:
        """All of it, to be read; paths are the guest's."""
        if self.content is not None:
            with self.content(place) as filesystem:
                yield filesystem
            return
        with RawFile(self.path) as blocks:
            blocks.name = self.disk.name
            with Filesystem(blocks, allow_unclean=True, place=place) as filesystem:
                yield filesystem


class Skeletons:
    """The metadata of bases, each copied once for all the stores on it; used by any number of threads.

    Args:
        directory: a private one, which the caller removes; nothing else is in it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turn = threading.Lock()
        self._made: dict[Path, Path] = {}

    def of(self, base: Path) -> Path:
        """What e2fsck reads of a base; the base itself where that can't be told apart from the rest."""
        with self._turn:
            if base not in self._made:
                self._made[base] = self._make(base, self._directory / str(len(self._made)))
            return self._made[base]

    def _make(self, base: Path, target: Path) -> Path:
        """Some features keep in files what e2fsck reads (ea_inode): then it calls the copy damaged."""
        try:
            run(tools.e2image(base, target, size_bytes=base.stat().st_size))
            if not errors_in(target):
                return target
        except ToolError:  # as of a damaged base
            pass
        target.unlink(missing_ok=True)
        return base


def told_of(err: BangerError, copy: Path, disk: StoredDisk) -> BangerError:
    """An error of a private copy, told as one of the disk: nobody can type the copy's name any more."""

    def told(text: str | None) -> str | None:
        return text and text.replace(str(copy), str(disk.path))

    return type(err)(told(err.brief) or "", details=told(err.details), hint=told(err.hint))


def is_in_order(blocks: Blocks) -> bool:
    """Whether a disk needs no replay.

    Raises:
        FilesystemError: it is no filesystem, or is marked as having errors.
    """
    return read_superblock(blocks, writable=False, allow_unreplayed=True).is_clean


def replay(copy: Path, name: str, epoch: int) -> None:
    """Replay the journal of a private copy.

    Exit code 1 would mean that e2fsck mended more: it throws a damaged journal away, and what is in it.
    """
    reading = tools.e2fsck_read_only(copy, size_bytes=copy.stat().st_size)
    replaying = tools.e2fsck_replay(copy, epoch=epoch)
    try:
        run(replace(replaying, ok=frozenset({0}), timeout_seconds=reading.timeout_seconds))
    except ToolError as err:
        said = err.details.replace(f"{copy}: ", "") if err.details else err.brief
        raise FilesystemError(
            f"the journal of '{name}' does not put it in order: {_findings(said)[0]}", details=said
        ) from err


def errors_in(disk: Path) -> tuple[str, ...]:
    """What `e2fsck -fn` finds wrong with a raw ext4, a line each; nothing if it is in order.

    Raises:
        ToolError: e2fsck is missing, went past its limits, or died.
    """
    command = tools.e2fsck_read_only(disk, size_bytes=disk.stat().st_size)
    done = run(replace(command, ok=command.ok | E2FSCK_GAVE_UP))
    return () if done.code == 0 else _findings(done.output)


def is_clean(output: str) -> bool:
    """Whether `e2fsck -fn`, which ended with code 0, left nothing unmended that libext2fs would build on.

    Its code does not count what it calls no error: wrong totals of free blocks, features that exclude each
    other (PR_NO_OK in e2fsck/problem.c). What only the clock or the shape of a tree is about does no harm.
    """
    *before, _ = _UNMENDED.split(output)
    return all(what.rstrip().endswith(_HARMLESS) for what in before)


def _findings(output: str) -> tuple[str, ...]:
    """A guest's names must not speak to the terminal."""
    lines = (_QUESTION.sub("", line.strip()) for line in output.splitlines() if not _NOISE.match(line))
    printable = ("".join(letter if letter.isprintable() else "?" for letter in line) for line in lines)
    return tuple(printable) or ("e2fsck finds errors",)
