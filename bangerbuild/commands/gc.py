"""What lies in a store and is of no use to anybody, and its removal; for `gc`.

Needed are the images that the manifest declares, as they were made last unless they are there as they would
be made today, and those that a root stands on or a launch file names. Guests' disks are never removed, nor
anything that no record knows, but in a directory that only we make, under a fingerprint.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import graph, store
from bangerbuild.commands import dependents
from bangerbuild.disk import in_use
from bangerbuild.errors import BusyError, StoreError, readable_size
from bangerbuild.fetch import scratch
from bangerbuild.fetch.cache import Cache, default_path
from bangerbuild.model import ArtifactPath, StepId, Verb
from bangerbuild.model.artifacts import IMAGE_DIRECTORIES, OWNERS_DIRECTORIES, PLAIN_TABLES
from bangerbuild.model.recipe import DESTROYED
from bangerbuild.model.request import epoch
from bangerbuild.pipeline import load_to_read
from bangerbuild.planning import plan
from bangerbuild.planning.host import LocalHost
from bangerbuild.store import directories
from bangerbuild.store.faults import store_error
from bangerbuild.store.sessions import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from bangerbuild.errors import Problem
    from bangerbuild.graph import Graph
    from bangerbuild.model import Json, Record
    from bangerbuild.model.request import Request
    from bangerbuild.store import Store

UNNEEDED = "nothing needs it"
UNMADE = "no step makes it any more"
INTERRUPTED = "left by an interrupted run"
GONE = "its files are gone, so that it is forgotten"


@dataclass(frozen=True)
class Waste:
    """One thing that goes."""

    path: str
    """Relative to the store; a directory for an image."""
    why: str
    size_bytes: int = 0
    """What it takes up on the disk."""
    artifacts: tuple[str, ...] = ()
    """The files."""
    records: tuple[str, ...] = ()
    """Ids of the records that go with them."""

    def to_json(self) -> dict[str, Json]:
        """As `gc --json` shows it."""
        return {"path": self.path, "why": self.why, "size_bytes": self.size_bytes}


def collect(
    request: Request,
    warn: Callable[[str], None],
    tell: Callable[[Problem], None] | None = None,
    *,
    dry_run: bool,
    lock_seconds: float,
) -> tuple[Path, tuple[Waste, ...]]:
    """Remove what is of no use; the store, and what was removed, or with `dry_run` would be.

    A request of a store and no manifest declares nothing: of its images those stay that something stands on.
    `tell` is told the problems of the manifests, else they are warned of.

    Raises:
        ManifestError, SourceError, ToolError: it can't be told what is needed; nothing was removed.
        BusyError: somebody works in the store, and did not end in time.
        StoreError: the store can't be read or written; what was not removed is still known.
    """
    path, wanted = _declared(request, warn, tell)
    left = tuple(_left_in_staging(path, lock_seconds))
    if wanted is None:
        return path, left
    if dry_run or not path.exists():
        return path, (*find(store.read(path), wanted, warn), *left)
    with store.writing(path, timeout_seconds=lock_seconds, exclusive=True) as opened:
        found = find(opened, wanted, warn)
        found = tuple(waste for waste in found if _is_removed(opened, waste, warn))
        remove_empty(path)
    return path, (*found, *left)


def _is_removed(opened: Store, waste: Waste, warn: Callable[[str], None]) -> bool:
    """Remove one thing; False if somebody has it open now, or it is another user's."""
    try:
        opened.forget(waste.records, waste.artifacts)
    except BusyError as err:
        warn(f"{err.brief}: it stays")
        return False
    except StoreError as err:
        if not isinstance(err.__cause__, PermissionError):
            raise
        warn(f"{err.brief}: '{waste.path}' stays")
        return False
    return True


def _declared(
    request: Request, warn: Callable[[str], None], tell: Callable[[Problem], None] | None
) -> tuple[Path, Graph | None]:
    """The store and what is declared; None: that is not known, and nothing can be called needless."""
    if request.store and not request.manifests:
        return request.store.absolute(), graph.build(())
    loaded = load_to_read(request, warn, tell)
    return loaded.manifest.store, loaded.wanted if loaded.is_read else None


def bound_cache(max_bytes: int, *, dry_run: bool) -> int:
    """Remove from the user's cache what does not fit into so many bytes; how many were freed, or would be.

    Raises:
        CacheError: it can't be read or written.
    """
    cache = Cache(default_path(os.environ))
    if not dry_run:
        scratch.sweep(cache.layouts)
        return cache.bound(max_bytes).freed_bytes
    return sum(path.lstat().st_blocks * 512 for path in cache.surplus(max_bytes) if path.exists())


def find(opened: Store, wanted: Graph, warn: Callable[[str], None]) -> tuple[Waste, ...]:
    """What of a store is of no use for these steps."""
    opened.check_records()
    unmade = tuple(_unmade(opened, wanted, warn))
    apart = {artifact for waste in unmade for artifact in waste.artifacts}
    if unreadable := dependents.unreadable(opened):
        warn(f"{_named(unreadable)} can't be read, and may need any image: all images stay")
        return unmade
    unneeded = tuple(_unneeded(opened, _needed(opened, wanted, apart, warn), warn))
    return (*unneeded, *unmade, *_gone(opened, wanted))


def _needed(
    opened: Store, wanted: Graph, apart: Collection[str], warn: Callable[[str], None]
) -> frozenset[str]:
    """The directories of images that stay."""
    unknown = [artifact for artifact in dependents.unknown_stores(opened) if artifact not in apart]
    if unknown:
        warn(f"no record says which image {_named(unknown)} stands on: all images stay")
        return frozenset(dependents.image_directories(opened))
    images = graph.restrict(wanted, graph.immutable(wanted))
    seconds = epoch()
    today = plan.make(images, opened, LocalHost(opened, seconds), epoch=seconds, is_lenient=True)
    unjudged = {StepId(step_id).owner for step_id in today.unjudged}
    artifacts = [artifact for action in today.actions for artifact in action.artifacts]
    changed = (action.id for action in today.actions if action.verb is not Verb.KEEP)
    last = (opened.records[step_id] for step_id in changed if step_id in opened.records)
    artifacts += [artifact for record in last for artifact in record.artifacts]
    declared = {directory for artifact in artifacts if (directory := ArtifactPath(artifact).image_directory)}
    if unjudged:
        warn(f"it can't be told what is needed of {', '.join(sorted(unjudged))}: all of it stays")
    kept = {
        directory
        for directory in dependents.image_directories(opened)
        if ArtifactPath(f"{directory}/any").owner in unjudged
    }
    return frozenset(declared.union(kept, dependents.dependents(opened, apart=apart)))


def _image_directories(record: Record) -> set[str | None]:
    return {ArtifactPath(artifact).image_directory for artifact in record.artifacts}


def _named(artifacts: Sequence[str]) -> str:
    return ", ".join(f"'{artifact}'" for artifact in artifacts)


def _unneeded(opened: Store, needed: frozenset[str], warn: Callable[[str], None]) -> Iterator[Waste]:
    for directory in dependents.image_directories(opened):
        if directory in needed:
            continue
        if directories.is_closed(opened.path / directory):
            warn(f"'{directory}' can't be looked into: it stays")
            continue
        there = [
            path for path in (opened.path / directory).iterdir() if path.is_symlink() or not path.is_dir()
        ]
        artifacts = tuple(f"{directory}/{path.name}" for path in sorted(there))
        known = [record.id for record in opened.records.values() if directory in _image_directories(record)]
        yield Waste(directory, UNNEEDED, _allocated(there), artifacts, tuple(sorted(known)))


def _unmade(opened: Store, wanted: Graph, warn: Callable[[str], None]) -> Iterator[Waste]:
    """Files of VMs and networks that we made and no step has as its own, as long as nobody changed them."""
    known = {artifact for record in opened.records.values() for artifact in record.artifacts}
    known |= {output for step in graph.all_steps(wanted) for output in step.outputs}
    for artifact in sorted(opened.stamps.keys() - known):
        if ArtifactPath(artifact).table not in PLAIN_TABLES:
            continue
        try:
            if opened.exists(artifact) and not opened.modified(artifact) and not _is_held(opened, artifact):
                yield Waste(artifact, UNMADE, _allocated((opened.path / artifact,)), (artifact,))
        except StoreError as err:
            warn(f"{err.brief}: it stays")


def _is_held(opened: Store, artifact: str) -> bool:
    path = opened.path / artifact
    try:
        return in_use.holder(path) is not None
    except OSError as err:
        raise store_error(err, path) from err


def _gone(opened: Store, wanted: Graph) -> Iterator[Waste]:
    """What is remembered of things that no manifest declares, and of which no file is left."""
    declared = {StepId(step_id).owner for step_id in wanted}
    needed = dependents.dependents(opened)  # a root's image may come back, and the root with it
    records: dict[tuple[str, ...], list[str]] = {}
    for record in sorted(opened.records.values(), key=lambda record: record.id):
        is_old = record.id != record.step_id
        if needed.keys() & _image_directories(record) or _is_guests(opened, record):
            continue
        if (is_old or StepId(record.id).owner not in declared) and not any(
            map(opened.may_exist, record.artifacts)
        ):
            records.setdefault(record.artifacts, []).append(record.id)
    for artifacts, ids in records.items():
        yield Waste(artifacts[0], GONE, artifacts=artifacts, records=tuple(ids))


def _is_guests(opened: Store, record: Record) -> bool:
    """Whether a disk that is gone holds what a guest wrote: its drive may come back."""
    stamps = (opened.stamps.get(artifact) for artifact in record.artifacts)
    return not record.facts.get(DESTROYED) and any(stamp.guest for stamp in stamps if stamp)


def _left_in_staging(path: Path, lock_seconds: float) -> Iterator[Waste]:
    try:
        for left in abandoned(path, lock_seconds):
            yield Waste(str(left.relative_to(path)), INTERRUPTED, _allocated((left, *left.rglob("*"))))
    except OSError as err:
        raise store_error(err, path) from err


def _allocated(paths: Iterable[Path]) -> int:
    """What is free once these are gone; a file with another name stays."""
    found = (path.lstat() for path in paths)
    return sum(status.st_blocks * 512 for status in found if status.st_nlink == 1)


def remove_empty(path: Path) -> None:
    """Remove directories of images, VMs and networks that hold nothing any more."""
    patterns = (IMAGE_DIRECTORIES, *OWNERS_DIRECTORIES)
    found = (directory for pattern in patterns for directory in path.glob(pattern))
    directories.remove_empty(path, [str(one.relative_to(path)) for one in found])


def lines(wastes: Sequence[Waste], *, dry_run: bool) -> Iterator[str]:
    """A line for each thing, and what is won."""
    width = max((len(waste.path) for waste in wastes), default=0)
    for waste in wastes:
        yield f"  {waste.path:<{width}}  {readable_size(waste.size_bytes):>10}  {waste.why}"
    if not wastes:
        yield "Nothing to remove."
        return
    freed = readable_size(sum(waste.size_bytes for waste in wastes))
    yield f"{freed} would be freed." if dry_run else f"{freed} freed."


def to_json(path: Path, wastes: Sequence[Waste], *, dry_run: bool) -> dict[str, Json]:
    """The document that `gc --json` prints."""
    return {
        "format": 1,
        "store": str(path),
        "dry_run": dry_run,
        "removed": [waste.to_json() for waste in wastes],
        "freed_bytes": sum(waste.size_bytes for waste in wastes),
    }
