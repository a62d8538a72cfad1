"""Judging a disk without changing it: e2fsck on the file itself, or on a private copy that it can read.

e2fsck knows no exception stores and no redo logs, and what a killed guest left in its journal it would call
damage. Such a disk is put together, mended and replayed in a copy.

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

from bangerbuild.disk import clone, interrupted, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

E2FSCK_GAVE_UP = {8, 12}
"""Its exit codes where it can't go on: it says what it met."""
_NOISE = re.compile(
    r"e2fsck 1\.|Pass \d|[A-Z][^.?]*\? no$|IGNORED|Warning: skipping journal|Warning!  .* is mounted|"
    r".*\*{5} WARNING|.*\d+/\d+ files \(|\s*$"
)
"""What e2fsck prints beside what it finds."""
_QUESTION = re.compile(r"\s+[A-Z][^.?]*\? no$")
"""And behind it."""


@dataclass(frozen=True)
class CheckedDisk:
    """A disk as it lies in the store; only read."""

    disk: Path
    """A raw disk, or a store."""
    base: Path | None
    """The image under a store; None: the disk is raw."""
    name: str
    """What to call it in messages."""
    base_name: str = ""
    """What the image is called, see `SnapshotStore`."""


@dataclass(frozen=True)
class Readable:
    """A disk as a raw ext4 with nothing to replay."""

    source: CheckedDisk
    path: Path
    """The disk itself if it is that, else a private copy."""
    has_content: bool = True
    """Whether it holds what is in files, and not only what e2fsck reads."""

    @contextmanager
    def opened(self) -> Iterator[Blocks]:
        """All of it, to be read."""
        source = self.source
        if self.has_content or source.base is None:
            with RawFile(self.path) as blocks:
                blocks.name = source.name
                yield blocks
        else:
            with _opened_store(source, source.base) as store:
                yield store


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


def readable(source: CheckedDisk, directory: Path, skeletons: Skeletons, *, epoch: int) -> Readable:
    """Make a disk readable for e2fsck.

    Args:
        source: the disk.
        directory: where a copy may be made, best on the same filesystem; nothing else is in it.
        skeletons: of the bases of all disks that are checked.
        epoch: the time for what e2fsck writes into a copy.

    Raises:
        FilesystemError, SnapshotError: there is no filesystem, it is marked as having errors, what lies
            beside the disk does not fit, or its journal can't be replayed.
        OSError: there is no room for a copy.
    """
    disk, name = source.disk, source.name
    copy = directory / disk.name
    if source.base is not None:
        with _opened_store(source, source.base) as store:
            in_order = _is_in_order(store)
            skeleton = skeletons.of(source.base) if in_order else source.base
            _merge(store, skeleton, copy)
        if in_order:
            return Readable(source, copy, has_content=skeleton == source.base)
    elif interrupted.is_half_patched(disk) or interrupted.is_half_grown(disk):
        for file in (disk, *filter(_exists, interrupted.leftovers(disk))):
            clone.clone(file, directory / file.name)
        try:
            interrupted.mend(copy, name)
        except BangerError as err:
            raise in_place(err, copy, source) from err
    elif _is_raw_in_order(disk, source):
        return Readable(source, disk)
    else:
        clone.clone(disk, copy)
    if not _is_raw_in_order(copy, source):
        _replay(copy, name, epoch)
    return Readable(source, copy)


def in_place(err: BangerError, copy: Path, source: CheckedDisk) -> BangerError:
    """An error of a private copy, told as one of the disk: nobody can type the copy's name any more."""

    def told(text: str | None) -> str | None:
        return text and text.replace(str(copy), str(source.disk))

    return type(err)(told(err.brief) or "", details=told(err.details), hint=told(err.hint))


@contextmanager
def _opened_store(source: CheckedDisk, base: Path) -> Iterator[SnapshotStore]:
    with RawFile(base) as under, interrupted.open_recovered(source.disk, source.name) as file:
        yield SnapshotStore(under, file, base_name=source.base_name)


def _exists(path: Path) -> bool:
    return path.exists()


def _merge(store: SnapshotStore, base: Path, target: Path) -> None:
    clone.clone(base, target)
    with RawFile(target, writable=True, durable=False) as merged:
        for chunk, data in store.changed_chunks():
            offset = chunk * store.chunk_bytes
            merged.write(offset, data[: store.size_bytes - offset])


def _is_in_order(blocks: Blocks) -> bool:
    return read_superblock(blocks, writable=False, allow_unreplayed=True).is_clean


def _is_raw_in_order(path: Path, source: CheckedDisk) -> bool:
    """Of the disk itself, or of its copy, which is of no interest to anybody in a message."""
    with RawFile(path) as blocks:
        blocks.name, blocks.place = source.name, None if source.base else str(source.disk)
        return _is_in_order(blocks)


def _replay(copy: Path, name: str, epoch: int) -> None:
    """Exit code 1 would mean that e2fsck mended more: it throws a damaged journal away, and what is in it."""
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


def _findings(output: str) -> tuple[str, ...]:
    """A guest's names must not speak to the terminal."""
    lines = (_QUESTION.sub("", line.strip()) for line in output.splitlines() if not _NOISE.match(line))
    printable = ("".join(letter if letter.isprintable() else "?" for letter in line) for line in lines)
    return tuple(printable) or ("e2fsck finds errors",)
