"""The files of the store that a record lists: stamped artifacts, the database, directories of disks."""

from __future__ import annotations

import os
import posixpath
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import interrupted
from bangerbuild.store.database import NAME
from bangerbuild.uptodate import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import Plan
    from bangerbuild.store import Store
    from bangerbuild.uptodate.record import Stats

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
LEFTOVERS = tuple(path.name.removeprefix("disk") for path in interrupted.leftovers(Path("disk")))


def marks(plan: Plan, opened: Store) -> Stats | None:
    """The artifacts of a plan with size, mtime and inode of each, as the store's stamps have them.

    A disk may differ from its stamp: its guest has just written to it, and the plan has looked into it. Then
    the next one has to do that again; a start looks at such disks itself.

    Returns:
        None if any other file differs from its stamp, or a change of a disk was interrupted.

    Raises:
        OSError: a file or directory can't be looked at.
    """
    artifacts = (artifact for action in plan.actions for artifact in action.depends_on)
    names = list(dict.fromkeys(map(str, artifacts)))  # marshal takes nothing that only inherits from str
    known = [opened.stamps.get(artifact) for artifact in names]
    numbers = [number for stamp in known if stamp for number in (stamp.size, stamp.mtime_ns, stamp.inode)]
    if None in known or any(_has_leftovers(opened.path / name) for name in _directories(plan)):
        return None
    disks = frozenset(_disks(plan))
    others = [place for place, name in enumerate(names) if name not in disks]
    now = check.marks(names, str(opened.path))
    same = now == numbers or _chosen(now, others) == _chosen(numbers, others)
    return (names, numbers) if same else None


def _chosen(numbers: list[int], places: list[int]) -> list[list[int]]:
    return [numbers[place * check.MARKS : (place + 1) * check.MARKS] for place in places]


def database(opened: Store) -> str:
    """The store's database, so marked that any later change shows.

    Raises:
        OSError: it can't be looked at, or can't be marked.
    """
    _tell_apart(opened.path / NAME)
    return str(opened.path / NAME)


def places(plan: Plan, opened: Store) -> list[str]:
    """The directories that disks lie in, so marked that any later change shows.

    Raises:
        OSError: one of them can't be looked at, or can't be marked.
    """
    paths = [opened.path / name for name in _directories(plan)]
    for path in paths:
        _tell_apart(path)
    return list(map(str, paths))


def _directories(plan: Plan) -> dict[str, None]:
    return dict.fromkeys(map(posixpath.dirname, _disks(plan)))


def _disks(plan: Plan) -> Iterator[str]:
    return (artifact for action in plan.actions if action.step.exclusive for artifact in action.artifacts)


def _tell_apart(path: Path) -> None:
    """Set the mtime of a file or directory of ours to a whole millisecond, unless it is one.

    The kernel's clock gives no whole milliseconds, so the next change shows even within the same tick. Whole
    seconds are not taken for such a mark: they come from filesystems without finer times.

    Raises:
        OSError: the time can't be set, or not so finely.
    """
    found = path.stat()
    if not found.st_mtime_ns % MILLISECOND_NS and found.st_mtime_ns % SECOND_NS:
        return
    milliseconds = time.time_ns() // MILLISECOND_NS
    milliseconds -= milliseconds % 1000 == 0
    os.utime(path, ns=(milliseconds * MILLISECOND_NS, milliseconds * MILLISECOND_NS))
    if path.stat().st_mtime_ns != milliseconds * MILLISECOND_NS:
        raise OSError(f"the times of '{path}' are too coarse")


def _has_leftovers(directory: Path) -> bool:
    return any(name.endswith(LEFTOVERS) for name in os.listdir(directory))  # noqa: PTH208  # of a thousand VMs
