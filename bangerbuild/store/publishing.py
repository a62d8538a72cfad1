"""What a finished job publishes, and the renames from staging into the store.

`Store.publish` calls this module: it commits the intents before the renames, and the records after them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import interrupted
from bangerbuild.model.fingerprint import canonical_json
from bangerbuild.store import database as db
from bangerbuild.store import stamps as stamping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bangerbuild.model import Record
    from bangerbuild.store.stamps import Stamp


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
        The jobs that were refused, and the directories that have to be synced.
    """
    parents = {os.path.dirname(f"{root}/{artifact}") for job in jobs for artifact in job.files}
    new = {parent for parent in parents if not os.path.isdir(parent)}
    changed = parents.union(*(_make_with_parents(Path(parent)) for parent in sorted(new)))
    refused = []
    for job in jobs:
        if not all(map(may_take, job.files)):
            refused.append(job)
            continue
        for artifact, staged in job.files.items():
            place = f"{root}/{artifact}"
            if os.path.dirname(place) not in new and interrupted.has_leftovers(place):
                _remove(interrupted.leftovers(Path(place)))
            os.rename(staged, place)
    return refused, changed


def _make_with_parents(directory: Path) -> set[str]:
    """Make a directory and its missing parents; the directories in which one was made."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return {str(path.parent) for path in missing}


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
