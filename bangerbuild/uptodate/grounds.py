"""The grounds on which there is nothing to do, taken down for the fast answer (`current/`) of the next run.

What a plan reads on this host is looked at before the plan is made, so that no change after that goes unseen.
What changed since the run began is no ground: it may have been read before. The store is looked at last, when
nobody else is at work there. None of this is ever needed: what can't be taken down, or written, is left.

`inputs` are the host's files, `programs` what does the work, `artifacts` what lies in the store.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError
from bangerbuild.model import Outcome, Verb
from bangerbuild.resolving import lockfile
from bangerbuild.store.database import LOG
from bangerbuild.store.sessions import LOCKS, STAGING, STORE_LOCK
from bangerbuild.uptodate import artifacts, check, command, inputs, programs, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bangerbuild.declared import Manifest
    from bangerbuild.graph import Graph
    from bangerbuild.model import Plan, Result
    from bangerbuild.request import Request
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store
    from bangerbuild.uptodate.command import Key
    from bangerbuild.uptodate.record import Stats

TICK_NS = 20_000_000
"""A file that is changed twice within this time may look the same after both."""
COARSE_NS = 2_000_000_000
"""The same where times are kept in whole seconds, or two."""
SECOND_NS = 1_000_000_000
AS_PLANNED = {Verb.CREATE, Verb.ADOPT, Verb.UPDATE, Verb.REPLACE}
"""What leaves a step with the recipe that it has today; what grew stands on what it was made from."""
RECORDS = 64
"""More are not kept for one user: the oldest go."""


@dataclass(frozen=True)
class Grounds:
    """What a load and a plan read on this host, as it was before the plan."""

    key: Key
    followed: Stats
    links: Stats
    warnings: tuple[str, ...]


def look(request: Request, loaded: Manifest, wanted: Graph, begun_ns: int) -> Grounds | None:
    """What is read for these steps, as it is now.

    Args:
        request: which part of which manifests is asked for.
        loaded: the manifest.
        wanted: its steps.
        begun_ns: when it began to be loaded, in nanoseconds since 1970.

    Returns:
        None where nobody can stand on that: it can't be looked at, or was changed since.
    """
    if request.replace or not all(map(str.isprintable, loaded.warnings)):
        return None
    try:
        followed = _looked_at(inputs.paths(loaded))
        links = inputs.trees(loaded, wanted)
        key = command.key(
            [str(path) for path in request.manifests],
            None if request.store is None else str(request.store),
            request.targets,
            locked=request.locked,
            offline=request.offline,
        )
    except (BangerError, OSError):
        return None
    if _is_younger(followed, begun_ns) or _is_younger(links, begun_ns):
        return None
    return Grounds(key, followed, links, loaded.warnings)


def remember(grounds: Grounds, found: Resolved, plan: Plan, results: Sequence[Result], opened: Store) -> None:
    """Take down that there is nothing to do any more, if that is so; the last that is done with the store."""
    if not _is_done(plan, results):
        return
    try:
        followed = _with_lock_file(grounds.followed, found)
        if followed and opened.flush_and_close():
            _take_down(replace(grounds, followed=followed), plan, opened)
    except (BangerError, OSError):
        return


def _with_lock_file(followed: Stats, found: Resolved) -> Stats | None:
    """What was looked at, with the lock file as this run wrote it; None if it may be another already."""
    if found.path is None or found.before == found.after:
        return followed
    names, numbers = followed
    now = _looked_at([str(found.path)])
    if lockfile.read(found.path) != found.after or _is_younger(now, time.time_ns()):
        return None
    place = names.index(str(found.path)) * check.NUMBERS
    return names, numbers[:place] + now[1] + numbers[place + len(now[1]) :]


def _is_done(plan: Plan, results: Sequence[Result]) -> bool:
    """Whether a plan that is made now would keep everything."""
    return all(
        action.verb is Verb.KEEP
        or (action.verb in AS_PLANNED and not action.in_use and result.outcome is Outcome.DONE)
        for action, result in zip(plan.actions, results, strict=True)
    )


def _take_down(grounds: Grounds, plan: Plan, opened: Store) -> None:
    marks = artifacts.marks(plan, opened)
    run = _looked_at(programs.paths())
    if marks is None or _is_younger(run, check.BEGUN_NS, COARSE_NS):
        return
    store = _looked_at([*artifacts.places(plan, opened), str(opened.path / LOG)])
    names, numbers = grounds.followed
    _save(
        record.RunRecord(
            key=grounds.key,
            circumstances=check.circumstances(),
            store=str(opened.path),
            lock=str(opened.path / LOCKS / STORE_LOCK),
            empty=str(opened.path / STAGING),
            followed=(names + run[0] + store[0], numbers + run[1] + store[1]),
            links=grounds.links,
            marks=marks,
            kept=len(plan.actions),
            warnings=list(grounds.warnings),
        )
    )


def _looked_at(paths: Iterable[str]) -> Stats:
    each = list(dict.fromkeys(paths))
    return each, check.stats(each)


def _is_younger(looked_at: Stats, begun_ns: int, tick_ns: int = TICK_NS) -> bool:
    """Whether anything was changed since then, or so shortly before that it would look the same."""
    return any(
        changed_ns >= begun_ns - (tick_ns if changed_ns % SECOND_NS else COARSE_NS)
        for changed_ns in looked_at[1][4 :: check.NUMBERS]
    )


def _save(taken: record.RunRecord) -> None:
    """Put a record where it is looked for, and let the oldest go."""
    named = record.directory()
    if named is None:
        return
    where = Path(named)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = where / f"{record.name(taken.key)}.{os.getpid()}"
    draft.write_bytes(record.dumped(taken))
    draft.rename(draft.with_suffix(""))
    files = sorted(where.iterdir(), key=lambda file: file.lstat().st_mtime_ns, reverse=True)
    for file in files[RECORDS:]:
        file.unlink(missing_ok=True)
