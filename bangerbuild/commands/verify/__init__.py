"""Whether what lies in the store is sound, record by record. Nothing in it is changed.

`artifacts` is one artifact and its checks, `rebuild` makes images again, `check` is what a check came to.
That the manifest wants something else is no fault: `plan` tells it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild import execute, graph, store
from bangerbuild.commands.verify import artifacts
from bangerbuild.commands.verify.check import Check, CheckResult
from bangerbuild.commands.verify.rebuild import rebuild
from bangerbuild.disk.checking import CheckRoom, Skeletons
from bangerbuild.errors import BusyError, StoreError
from bangerbuild.host import process
from bangerbuild.model import StepId
from bangerbuild.model.request import epoch
from bangerbuild.pipeline import expanded, known_pins, load_request, load_to_read, refuse_without_node
from bangerbuild.store.faults import nothing_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.errors import Problem
    from bangerbuild.graph import Graph
    from bangerbuild.model import Json, Record
    from bangerbuild.model.request import Request, RunOptions
    from bangerbuild.pipeline import Loaded
    from bangerbuild.store import Store

WORDS = {
    CheckResult.OK: "ok",
    CheckResult.FAILED: "failed",
    CheckResult.SKIPPED: "skipped",
    CheckResult.IN_USE: "in use",
}


@nothing_new()
def verify(  # noqa: PLR0913  # whom to tell of what
    request: Request,
    run_options: RunOptions,
    tell: Callable[[Sequence[Check]], None],
    warn: Callable[[str], None],
    tell_problem: Callable[[Problem], None] | None = None,
    *,
    again: bool = False,
) -> tuple[Path, tuple[Check, ...]]:
    """Check every record, disk and file written into a guest; the store, and what the checks came to.

    Args:
        request: which store, and which part of it: targets may be declared or only recorded.
        run_options: how many artifacts at once, and how long to wait for one who works on them.
        tell: called with the checks of an artifact or two, as they are made.
        warn: is told what is odd about the manifest.
        tell_problem: is told its problems; None: they are warned of.
        again: whether images are made again and compared.

    Raises:
        ManifestError, UsageError: there is nothing to look at.
        BusyError: somebody has the store alone, and did not end in time.
        StoreError: there is no store, or none that can be used.
        LockFileError: images are to be made again, and the lock file says something else than there is.
        ToolError: e2fsck is missing.

    A store that nobody can write is checked in the directory for temporary files.
    """
    whole = replace(request, targets=())
    loaded = load_request(whole, warn) if again else load_to_read(whole, warn, tell_problem)
    return verify_loaded(loaded, request.targets, run_options, tell, again=again)


@nothing_new()
def verify_loaded(
    loaded: Loaded,
    named: Sequence[str],
    run_options: RunOptions,
    tell: Callable[[Sequence[Check]], None],
    *,
    again: bool = False,
) -> tuple[Path, tuple[Check, ...]]:
    """The same of manifests that are loaded, without targets of their own; `named` are the targets.

    Raises:
        UsageError, BusyError, StoreError, LockFileError, ToolError: see `verify`.
    """
    refuse_without_node(loaded)
    process.find("e2fsck")
    _check_there(loaded.store, again=again)
    checks: list[Check] = []
    opening = store.writing if os.access(loaded.store, os.W_OK) else _only_read
    with opening(loaded.store, timeout_seconds=run_options.lock_seconds) as opened:
        targets = expanded(loaded.manifest, named)
        records, steps = _chosen(opened, loaded.wanted, targets)
        for found in _examined(opened, records, run_options):
            tell(found)
            checks += found
        if again:
            made = _rebuilt(replace(loaded, wanted=steps), opened, run_options)
            tell(made)
            checks += made
    return loaded.store, tuple(checks)


def _check_there(path: Path, *, again: bool) -> None:
    """Whether there is a store to be checked, and one to make images in."""
    opened = store.read(path)
    opened.check_records()
    if not opened.records:
        raise StoreError(f"nothing was built in '{path}'", hint="bangerbuild apply")
    if again and not os.access(path, os.W_OK):
        raise StoreError(f"the store '{path}' can't be written: no image can be made again in it")


def _rebuilt(loaded: Loaded, opened: Store, run_options: RunOptions) -> tuple[Check, ...]:
    """The images of the wanted steps, made again."""
    options = execute.ExecuteOptions(run_options.jobs, keep_going=True, epoch=epoch())
    images = graph.restrict(loaded.whole, graph.immutable(loaded.wanted))
    return tuple(rebuild(images, known_pins(loaded), opened, options))


@contextmanager
def _only_read(path: Path, *, timeout_seconds: float) -> Iterator[Store]:  # noqa: ARG001  # as `store.writing`
    """Nobody works in it, so there is nobody to wait for."""
    yield store.read(path)


def _chosen(opened: Store, wanted: Graph, targets: Sequence[str]) -> tuple[list[str], Graph]:
    """The ids of the records and the declared steps that the targets and what they need are; without, all."""
    records = opened.records
    copies = {f"{record.id}@{record.fingerprint}" for record in records.values()}
    everything = sorted(records.keys() - copies)
    if not targets:
        return everything, wanted
    known = {*wanted, *(record.step_id for record in records.values())}
    named = {step_id for target in targets for step_id in graph.matching(known, target)}
    needed: set[str] = set()
    waiting = [record for record in records.values() if record.step_id in named]
    while waiting:
        record = waiting.pop()
        if record.id not in needed:
            needed.add(record.id)
            waiting += _below(records, record)
    steps = graph.restrict(wanted, [step_id for step_id in wanted if step_id in named])
    return [step_id for step_id in everything if step_id in needed], steps


def _below(records: Mapping[str, Record], record: Record) -> Iterator[Record]:
    """What a record says it was made from, and what it stands on."""
    for step_id, fingerprint in record.recipe.inputs.items():
        found = records.get(f"{step_id}@{fingerprint}") or records.get(step_id)
        if found:
            yield found
    yield from (found for found in records.values() if record.facts.get("base") in found.artifacts)


def _examined(opened: Store, records: Sequence[str], run_options: RunOptions) -> Iterator[tuple[Check, ...]]:
    """The checks of each VM or image, several of them at once, in the order of their names."""
    owners = [(owner, tuple(ids)) for owner, ids in groupby(records, lambda step_id: StepId(step_id).owner)]
    examination = _Examination(opened)
    pool = ThreadPoolExecutor(run_options.jobs, thread_name_prefix="verify")
    try:
        yield from pool.map(lambda pair: examination.checks(*pair), owners)
    except BaseException:
        examination.stopped = True
        process.end_all()
        pool.shutdown(cancel_futures=True)  # the store that they ask is closed next
        examination.close()
        raise
    pool.shutdown()
    examination.close()


class _Examination:
    """Runs in threads; the store is asked by one at a time."""

    def __init__(self, opened: Store) -> None:
        self._store = opened
        self.stopped = False
        """Whether no artifact more is to be looked at."""
        self._turn = threading.Lock()
        self._room = ExitStack()
        self._skeletons = Skeletons(self._stage())
        self._epoch = epoch()

    def checks(self, owner: str, records: Sequence[str]) -> tuple[Check, ...]:
        """Of all that belongs to a VM or an image, while nobody else of ours works on it."""
        try:
            with self._store.alone(owner):
                known = self._known(records)
                return tuple(check for one in known if not self.stopped for check in self._examine(one))
        except BusyError as err:
            busy = ((one.name, one.id) for one in self._known(records))
            return tuple(Check(*names, "use", CheckResult.IN_USE, err.brief) for names in busy)

    def _stage(self) -> Path:
        if self._store.is_writable:
            return self._store.stage()
        return Path(tempfile.mkdtemp(dir=self._room.enter_context(tempfile.TemporaryDirectory())))

    def close(self) -> None:
        """Remove what the store's own session does not."""
        self._room.close()

    def _known(self, records: Sequence[str]) -> list[artifacts.Artifact]:
        with self._turn:
            if self._store.is_writable:
                self._store.refresh()
            there = [self._store.records[step_id] for step_id in records if step_id in self._store.records]
            return [one for record in there for one in artifacts.of(self._store, record)]

    def _examine(self, one: artifacts.Artifact) -> tuple[Check, ...]:
        with self._turn:
            directory = self._stage()
        try:
            return artifacts.examine(one, CheckRoom(directory, self._skeletons, self._epoch))
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def lines(checks: Sequence[Check]) -> Iterator[str]:
    """A line for each artifact that is well, and one for each fault."""
    for path, found in groupby(checks, lambda check: check.path):
        some = list(found)
        told = [check for check in some if check.result is not CheckResult.OK] or some[:1]
        for check in told:
            yield f"  {WORDS[check.result]:<7} {path}  {check.message}".rstrip()


def summary_line(checks: Sequence[Check]) -> str:
    """The last line: `9 artifacts: 7 ok, 1 failed, 1 in use`."""
    results = {path: _worst(found) for path, found in groupby(sorted(checks, key=_path), _path)}
    counts = Counter(results.values())
    told = ", ".join(f"{counts[finding]} {word}" for finding, word in WORDS.items() if counts[finding])
    number = f"{len(results)} artifact{'' if len(results) == 1 else 's'}"
    return f"{number}: {told}" if told else number


def _path(check: Check) -> str:
    return check.path


def _worst(checks: Iterator[Check]) -> CheckResult:
    order = (CheckResult.FAILED, CheckResult.IN_USE, CheckResult.SKIPPED, CheckResult.OK)
    return min((check.result for check in checks), key=order.index)


def to_json(path: Path, checks: Sequence[Check]) -> dict[str, Json]:
    """The document that `verify --json` prints; `summary` counts the checks by their results."""
    counts = Counter(check.result for check in checks)
    return {
        "format": 1,
        "store": str(path),
        "checks": [check.to_json() for check in checks],
        "summary": {finding.value: counts[finding] for finding in CheckResult},
    }
