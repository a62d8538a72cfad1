"""Rebuilding lost or damaged records from what lies in the store; for `recover`. No disk is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import graph, pipeline, steps, store
from bangerbuild.model import ArtifactPath
from bangerbuild.model.artifacts import PLAIN_FILES
from bangerbuild.model.recovered import Stray, Unrecovered
from bangerbuild.planning import recovering
from bangerbuild.store import Staged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from bangerbuild.model import Json
    from bangerbuild.model.request import Request
    from bangerbuild.store import Recovering, Store

SOUND, MISSING, DAMAGED = "sound", "missing", "damaged"


@dataclass(frozen=True)
class Recovery:
    """What was found in a store."""

    store: Path
    database: str
    """`sound`, `missing` or `damaged`."""
    set_aside: Path | None
    """Where the damaged database is now."""
    faults: tuple[str, ...]
    """What of it can't be read."""
    known: int
    """How many records it had, or could be read from it."""
    jobs: tuple[Staged, ...]
    unrecovered: tuple[Unrecovered, ...]


def recover(request: Request, warn: Callable[[str], None], *, lock_seconds: float) -> Recovery:
    """Make records of what lies in the store and no record knows.

    Raises:
        ManifestError, SourceError: it can't be told what is declared; nothing was changed.
        BusyError: somebody works in the store, and did not end in time.
        StoreError: the store can't be read or written, or is of another version.
    """
    loaded = pipeline.load_request(request, warn)
    path = loaded.store
    if not path.is_dir():
        return Recovery(path, MISSING, None, (), 0, (), ())
    with store.recovering(path, timeout_seconds=lock_seconds) as opened:
        kept = () if opened.salvaged.is_intact else (_salvaged(opened),)
        opened.store.learn(kept)
        known = len(opened.store.records)
        found = pipeline.recover(loaded, opened.store)
        declared = {output for step in graph.all_steps(loaded.whole) for output in step.outputs}
        strays = tuple(_strays(opened.store, declared))
        unknown = (one for one in strays if isinstance(one, Stray) and one.id not in opened.store.records)
        others = recovering.of_strays(opened.store, tuple(unknown))  # else it lies beside what is known
        opened.store.save((*kept, *found.jobs, *others))
    unrecovered = (*found.unrecovered, *(one for one in strays if isinstance(one, Unrecovered)))
    faults = tuple(opened.salvaged.faults)
    jobs = (*found.jobs, *others)
    return Recovery(path, _state(opened), opened.set_aside, faults, known, jobs, unrecovered)


def _state(opened: Recovering) -> str:
    if opened.salvaged.is_missing:
        return MISSING
    return SOUND if opened.salvaged.is_intact else DAMAGED


def _salvaged(opened: Recovering) -> Staged:
    """What was read of a damaged database, but for patches of which it is not known what they wrote."""
    salvaged = opened.salvaged
    records = tuple(
        record
        for record in salvaged.records.values()
        if record.id in salvaged.written or not steps.is_patch(record.recipe.kind)
    )
    stamps = {
        artifact: stamp
        for record in records
        if not steps.is_patch(record.recipe.kind)
        for artifact, stamp in recovering.stamps_of(
            opened.store, record.artifacts, guests=steps.is_exclusive(record.recipe.kind)
        ).items()
        if artifact not in salvaged.stamps
    }
    return Staged(records, {}, changed={**stamps, **salvaged.stamps}, written=salvaged.written)


def _strays(opened: Store, declared: Collection[str]) -> Iterator[Stray | Unrecovered]:
    """Files of VMs and networks that no manifest declares and no record knows."""
    known = {artifact for record in opened.records.values() for artifact in record.artifacts}
    for path in sorted(path for pattern in PLAIN_FILES for path in opened.path.glob(pattern)):
        artifact = ArtifactPath(path.relative_to(opened.path))
        if artifact in known or artifact in declared or not opened.exists(artifact):
            continue
        owner = artifact.owner
        for kind in steps.STEPS:
            if kind.stray_table == owner.table and (found := kind.stray(owner.name, path, artifact)):
                yield found


def lines(recovery: Recovery) -> Iterator[str]:
    """What was found, to be read."""
    rows = [(job.records[0].id, _told(job)) for job in recovery.jobs]
    rows += [(one.path, f"nothing can be told of it: {one.why}") for one in recovery.unrecovered]
    width = max((len(name) for name, _ in rows), default=0)
    for name, told in rows:
        yield f"  {name:<{width}}  {told}"
    for fault in recovery.faults:
        yield f"state.db was damaged: {fault}"
    if recovery.set_aside:
        yield f"The damaged state.db is now '{recovery.set_aside}'."
    yield (
        f"{_counted(len(recovery.jobs))} made of what lies in the store, {recovery.known} known before, "
        f"{len(recovery.unrecovered)} of which nothing can be told."
    )


def _counted(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"


def _told(job: Staged) -> str:
    """What a new record says of its artifacts."""
    record = job.records[0]
    base = record.facts.get("base")
    written = job.written.get(record.id)
    if written is not None:
        return f"{len(written)} guest paths as they are declared today"
    names = ", ".join(record.artifacts)
    return f"{names} on {base}" if base else names


def to_json(recovery: Recovery) -> dict[str, Json]:
    """The document that `recover --json` prints."""
    return {
        "format": 1,
        "store": str(recovery.store),
        "database": recovery.database,
        "set_aside": str(recovery.set_aside) if recovery.set_aside else None,
        "faults": list(recovery.faults),
        "known": recovery.known,
        "recovered": [_job_json(job) for job in recovery.jobs],
        "unknown": [{"path": one.path, "why": one.why} for one in recovery.unrecovered],
    }


def _job_json(job: Staged) -> dict[str, Json]:
    record = job.records[0]
    return {
        "id": record.id,
        "kind": record.recipe.kind,
        "artifacts": list(record.artifacts),
        "base": record.facts.get("base"),
        "guest_paths": len(job.written.get(record.id, ())),
    }
