"""What a finished job publishes, and the renames from staging into the store.

`Store.publish` calls this module: it commits the intents before the renames, and the records after them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import interrupted
from bangerbuild.disk.formats import is_disk
from bangerbuild.model.fingerprint import canonical_json
from bangerbuild.store import database as db
from bangerbuild.store import directories
from bangerbuild.store import stamps as stamping
from bangerbuild.store.replacing import ASIDE, Place, is_of_a_vm

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from bangerbuild.model import Record
    from bangerbuild.store.stamps import Stamp

MAX_OPEN = 64
"""How many directories stay open from one job to the next: files of one VM often come in sequence."""
ATTEMPTS = 3
"""How often a job's files are put in place before it is given up: somebody opens an old disk each time."""


@dataclass(frozen=True)
class Staged:
    """A finished job: its new records, and its files in staging by the artifacts' names."""

    records: tuple[Record, ...]
    files: Mapping[str, Path]
    guests: frozenset[str] = frozenset()
    """The files that a guest writes to, or that hold what a guest has written."""
    changed: Mapping[str, Stamp] = field(default_factory=dict)
    """Artifacts that were changed in place, and their new stamps."""
    written: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What patches wrote into their guests, by step."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """The files that have a stamp already."""


@dataclass(frozen=True)
class Publication:
    """A job with its rows for the database; intent and tables get the same text."""

    job: Staged
    stamps: Mapping[str, Stamp]
    """Of all its artifacts."""
    records: Mapping[str, str]
    """Their text by step."""
    written: Mapping[str, str]

    @classmethod
    def of(cls, job: Staged) -> Publication:
        """The publication of a job; files without a stamp are stamped."""
        made = {
            artifact: job.stamps.get(artifact) or stamping.stamped(file, guest=artifact in job.guests)
            for artifact, file in job.files.items()
        }
        return cls(
            job,
            {**job.changed, **made},
            {record.id: db.body_of(record) for record in job.records},
            {step_id: canonical_json(dict(written)) for step_id, written in job.written.items()},
        )

    def intent(self) -> str:
        """The intent of this publication, as canonical JSON."""
        stamps = {artifact: canonical_json(stamp.to_json()) for artifact, stamp in self.stamps.items()}
        parts = {"records": self.records, "stamps": stamps, "written": self.written}
        return _object({key: _object(part) for key, part in parts.items()})


def _object(members: Mapping[str, str]) -> str:
    """The canonical JSON of an object whose members are JSON text already."""
    return "{" + ",".join(f"{canonical_json(key)}:{members[key]}" for key in sorted(members)) + "}"


def put_in_place(
    root: Path, jobs: Sequence[Staged], may_take: Callable[[str], bool]
) -> tuple[list[Staged], set[str]]:
    """Rename the files of jobs into a store: all files of a job, or none of them.

    Args:
        root: the store's directory.
        jobs: their files are synced already.
        may_take: called with each artifact directly before the rename; False keeps the old artifact.

    Returns:
        The jobs that were refused, or whose old disk somebody opened meanwhile, and the directories that have
        to be synced.

    Raises:
        StoreError: a directory lies behind a symlink that is not the user's own.
    """
    changed: set[str] = set()
    new: set[str] = set()
    with directories.OpenDirectories(root, follow=True, made=new) as opened:
        refused = [job for job in jobs if not _is_placed(root, opened, job, may_take)]
    for job in jobs:
        changed.update(os.path.dirname(f"{root}/{artifact}") for artifact in job.files)
    return refused, changed.union(map(os.path.dirname, new))


def _is_placed(
    root: Path, opened: directories.OpenDirectories, job: Staged, may_take: Callable[[str], bool]
) -> bool:
    """Whether a job's files took their places. Who only reads an old disk is waited for, by `may_take`."""
    if len(opened) > MAX_OPEN:
        opened.forget()
    disks = frozenset(filter(is_of_a_vm, job.files))
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            places = {}
            for artifact, staged in job.files.items():
                directory, _, name = artifact.rpartition("/")
                places[artifact] = Place(opened.descriptor(directory), name, Path(f"{staged}{ASIDE}"))
            if not all(map(may_take, job.files)):
                return False
            for artifact in disks:
                stack.callback(places[artifact].close)
            if _take(root, job, places, disks, opened.made or ()):
                return True
    return False


def _take(
    root: Path, job: Staged, places: Mapping[str, Place], disks: Collection[str], new: Collection[str]
) -> bool:
    """Rename the files of a job; False if somebody came for an old disk, and all is as it was before."""
    if not all(places[artifact].hold() for artifact in disks):
        return False
    for artifact, staged in job.files.items():
        path = f"{root}/{artifact}"
        if is_disk(artifact) and os.path.dirname(path) not in new and interrupted.has_leftovers(path):
            places[artifact].clear(left.name for left in interrupted.leftovers(Path(path)))
        places[artifact].take(staged, keep=bool(disks))
    if any(places[artifact].is_wanted for artifact in disks):
        for artifact, staged in job.files.items():
            places[artifact].put_back(staged)
        return False
    for place in places.values():
        place.settle()
    return True
