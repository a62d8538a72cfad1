"""The basis of a plan: all that must be as it was for the next plan to be the same, written as a record.

Three parts:

- host files: what loading and planning looked at, each path with its stat from before it was read (`Basis`)
- programs: this package, the libraries and tools that it uses (`programs`)
- the store: its database, and the stamps of its artifacts (`artifacts`), looked at at the end of the run

A host file that changed after the run began, or so shortly before that a second change could leave the same
stat, makes no record: it may have been read before or after that change. A record only saves time, so every
doubt and every error ends in no record.
"""

from __future__ import annotations

import marshal
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bangerbuild import report
from bangerbuild.errors import BangerError
from bangerbuild.given import Given
from bangerbuild.host import remembered
from bangerbuild.host.observed import Observations
from bangerbuild.model import Outcome, Verb
from bangerbuild.resolving import lockfile
from bangerbuild.store import secrets_key
from bangerbuild.store.database import LOG
from bangerbuild.store.directories import LOCKS, STAGING
from bangerbuild.store.sessions import STORE_LOCK
from bangerbuild.uptodate import artifacts, check, command, programs, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Plan, Result
    from bangerbuild.model.request import Request
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store
    from bangerbuild.uptodate.command import Key
    from bangerbuild.uptodate.record import Stats

    Numbers: TypeAlias = tuple[int, int, int, int, int, int, int, int]
    """See `check.numbers`."""

TICK_NS = 20_000_000
"""A file that is changed twice within this time may look the same after both."""
COARSE_NS = 2_000_000_000
"""The same where times are kept in whole seconds, or two."""
SECOND_NS = 1_000_000_000
AS_PLANNED = {Verb.CREATE, Verb.FETCH, Verb.ADOPT, Verb.UPDATE, Verb.REPLACE}
"""What leaves a step with the recipe that it has today; a disk that grew has the recipe of its first run."""
MOST_FILES = 128
"""How many files of records are kept for one user: the oldest are removed."""


class Done(NamedTuple):
    """What a run came to."""

    plan: Plan
    results: Sequence[Result]
    startable: Callable[[], dict[str, Any]]
    """Gives what it takes to start each VM, by name, in values that marshal takes."""


class Basis:
    """What one run's load and plan looked at on the host. The run begins when this is made.

    Args:
        begun_ns: when the run began, in nanoseconds since 1970; None: now.
    """

    def __init__(self, begun_ns: int | None = None) -> None:
        self._begun_ns = time.time_ns() if begun_ns is None else begun_ns
        self._seen: Observations[Numbers] = Observations(check.numbers)

    def refuse_to_remember(self) -> None:
        """Have no record be made of this run."""
        self._seen.is_complete = False

    def recording(self) -> AbstractContextManager[None]:
        """Note what this thread reads in the context; entered to load, to pin and to plan."""
        return self._seen.recording()

    def remember(
        self,
        request: Request,
        loaded: Manifest,
        resolved: Resolved,
        done: Done,
        opened: Store,
    ) -> None:
        """Write a record if the next plan would keep everything; the last that is done with the store."""
        if not (self.is_settled() and _is_done(done) and _is_answerable(request, loaded)):
            return
        try:
            followed = _with_lock_file(self._seen.followed, resolved)
            if followed and opened.flush_and_close():
                self._write(request, loaded, followed, done, opened)
        except (BangerError, OSError):
            return

    def _write(self, request: Request, loaded: Manifest, followed: Stats, done: Done, opened: Store) -> None:
        """Look at the programs and at the store, which come last, and write the record."""
        marks = artifacts.marks(done.plan, opened)
        used = _looked_at(programs.paths())
        if marks is None or _is_younger(used, check.BEGUN_NS, COARSE_NS):
            return
        startable = {name: marshal.dumps(one) for name, one in done.startable().items()}
        beside = remembered.dumped(record.HEAD, startable)
        key_file = str(opened.path / secrets_key.NAME)
        store = _looked_at([artifacts.database(opened), str(opened.path / LOG), key_file])
        _save(
            record.RunRecord(
                key=_key(request),
                circumstances=check.circumstances(),
                store=str(opened.path),
                lock=str(opened.path / LOCKS / STORE_LOCK),
                empty=str(opened.path / STAGING),
                followed=(followed[0] + used[0] + store[0], followed[1] + used[1] + store[1]),
                beside=_looked_at(artifacts.places(done.plan, opened)),
                leftovers=list(artifacts.LEFTOVERS),
                links=_flat(self._seen.links),
                marks=marks,
                kept=len(done.plan.actions),
                warnings=list(loaded.warnings),
                startable=zlib.crc32(beside),
                secrets_key=key_file,
                variables=check.variables(key_file, sorted(self._seen.variables)),
                notices=list(map(_given(request).completed, report.undeclared_lines(done.plan))),
            ),
            beside,
        )

    def is_settled(self) -> bool:
        """Whether all could be looked at, and nothing changed since the run began or shortly before."""
        seen = (self._seen.followed, self._seen.links)
        return self._seen.is_complete and not any(_is_younger(_flat(one), self._begun_ns) for one in seen)


def _is_done(done: Done) -> bool:
    """Whether a plan that is made now would keep everything."""
    return all(
        action.verb is Verb.KEEP
        or (action.verb in AS_PLANNED and not action.in_use and result.outcome is Outcome.DONE)
        for action, result in zip(done.plan.actions, done.results, strict=True)
    )


def _is_answerable(request: Request, loaded: Manifest) -> bool:
    """Whether the same can be asked for again, and `check` can say what this run said."""
    return bool(loaded.files) and not request.replace and all(map(str.isprintable, loaded.warnings))


def _given(request: Request) -> Given:
    """What the commands in what it says are completed with."""
    manifests = () if request.manifests == (Path(command.DEFAULT_MANIFEST),) else request.manifests
    return Given.of(manifests, request.store, request.variables, request.variable_files, request.node)


def _key(request: Request) -> Key:
    return command.key(
        [str(path) for path in request.manifests],
        None if request.store is None else str(request.store),
        request.targets,
        locked=request.locked,
        offline=request.offline,
        variables=[f"{name}={value}" for name, value in request.variables],
        variable_files=[str(path) for path in request.variable_files],
        node=request.node,
    )


def _with_lock_file(followed: Mapping[str, Numbers | None], found: Resolved) -> Stats | None:
    """What was looked at, with the lock file as this run wrote it; None if it may be another already."""
    if found.path is None or found.before == found.after:
        return _flat(followed)
    name = str(found.path)
    now = check.stats([name])
    if lockfile.read(found.path) != found.after or _is_younger(([name], now), time.time_ns()):
        return None
    names, numbers = _flat({path: one for path, one in followed.items() if path != name})
    return [*names, name], numbers + now


def _looked_at(paths: Iterable[str]) -> Stats:
    each = list(dict.fromkeys(paths))
    return each, check.stats(each)


def _flat(seen: Mapping[str, Numbers | None]) -> Stats:
    """As a record has it: the paths, and all their numbers in one list."""
    return list(seen), [number for one in seen.values() for number in one or check.ABSENT]


def _is_younger(looked_at: Stats, begun_ns: int, tick_ns: int = TICK_NS) -> bool:
    """Whether anything was changed since then, or so shortly before that it would look the same."""
    return any(
        changed_ns >= begun_ns - (tick_ns if changed_ns % SECOND_NS else COARSE_NS)
        for changed_ns in looked_at[1][4 :: check.NUMBERS]
    )


def _save(made: record.RunRecord, beside: bytes) -> None:
    """Put a record where it is looked for, after what lies beside it, and remove the oldest ones."""
    where, name = record.directory(), record.name(made.key)
    if where is not None:
        remembered.keep(where, f"{name}{record.BESIDE}", beside, MOST_FILES)
        remembered.keep(where, name, record.dumped(made), MOST_FILES)
