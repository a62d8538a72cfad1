"""Judging a disk without changing it: e2fsck on the file itself, or on a private copy that it can read.

e2fsck knows no exception stores and no redo logs, and what a killed guest left in its journal it would call
damage. Such a disk is put together, mended and replayed in a copy, which shares its blocks with the original
where the filesystem can.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.disk import clone, interrupted, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, ToolError
from bangerbuild.process import run

if TYPE_CHECKING:
    from pathlib import Path

_NOISE = re.compile(
    r"e2fsck 1\.|Pass \d|Fix\? no|IGNORED|Warning: skipping journal|Warning!  .* is mounted|"
    r".*\*{5} WARNING|.*\d+/\d+ files \(|\s*$"
)
"""What e2fsck prints beside what it finds."""


def readable(disk: Path, base: Path | None, directory: Path, *, name: str, epoch: int) -> Path:
    """A disk as a raw ext4 with nothing to replay: the file itself if it is that, else a private copy.

    Args:
        disk: a raw disk or a store; only read.
        base: the image under a store; None: the disk is raw.
        directory: where a copy may be made, best on the same filesystem; nothing else is in it.
        name: what to call the disk in messages.
        epoch: the time for what e2fsck writes into a copy.

    Raises:
        FilesystemError, SnapshotError: there is no filesystem, it is marked as having errors, what lies
            beside the disk does not fit, or its journal can't be replayed.
        OSError: there is no room for a copy.
    """
    copy = directory / disk.name
    if base is not None:
        _merge(disk, base, copy, name)
    elif interrupted.is_half_patched(disk) or interrupted.is_half_grown(disk):
        for file in (disk, *filter(_exists, interrupted.leftovers(disk))):
            clone.clone(file, directory / file.name)
        interrupted.mend(copy, name)
    elif _is_in_order(disk, name, disk):
        return disk
    else:
        clone.clone(disk, copy)
    if not _is_in_order(copy, name, None if base else disk):
        _replay(copy, name, epoch)
    return copy


def _exists(path: Path) -> bool:
    return path.exists()


def _merge(disk: Path, base: Path, target: Path, name: str) -> None:
    with RawFile(base) as under, interrupted.opened(disk, name) as file:
        store = SnapshotStore(under, file)
        clone.clone(base, target)
        with RawFile(target, writable=True, durable=False) as merged:
            for chunk, data in store.changed_chunks():
                offset = chunk * store.chunk_bytes
                merged.write(offset, data[: under.size_bytes - offset])


def _is_in_order(disk: Path, name: str, place: Path | None) -> bool:
    """Whether nothing is to be replayed; `place` is where the user has what was copied."""
    with RawFile(disk) as blocks:
        blocks.name, blocks.place = name, str(place) if place else None
        return read_superblock(blocks, writable=False, allow_unreplayed=True).is_clean


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
        ToolError: e2fsck went past its limits, or could not do its work.
    """
    done = run(tools.e2fsck_read_only(disk, size_bytes=disk.stat().st_size))
    return () if done.code == 0 else _findings(done.output)


def _findings(output: str) -> tuple[str, ...]:
    """A guest's names must not speak to the terminal."""
    lines = (line.strip().removesuffix("? no") for line in output.splitlines() if not _NOISE.match(line))
    printable = ("".join(letter if letter.isprintable() else "?" for letter in line) for line in lines)
    return tuple(printable) or ("e2fsck finds errors",)
