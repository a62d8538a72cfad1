"""The whole flow: a manifest becomes steps, steps a graph, graph and store a plan, and the plan is executed.

Read this first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import execute, graph, manifest, plan, steps, store
from bangerbuild.errors import UsageError
from bangerbuild.host import LocalHost
from bangerbuild.model import Verb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.graph import Graph
    from bangerbuild.model import Plan, PlanReporter, Result
    from bangerbuild.spec import Manifest
    from bangerbuild.store import Store

DEFAULT_EPOCH = 946_684_800
"""1 January 2000: far from 0, which the ext4 tools take for "now"."""


@dataclass(frozen=True)
class Request:
    """What is wanted: which manifests, where, and which part of them."""

    manifests: tuple[Path, ...]
    store: Path | None = None
    """Overrides the manifest's."""
    targets: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()


def load_graph(request: Request, warn: Callable[[str], None]) -> tuple[Manifest, Graph]:
    """The manifest and the checked graph of its steps, restricted to the targets.

    `warn` is told what is odd about the manifest, but no error.
    """
    loaded = manifest.load(request.manifests, store=request.store)
    for message in loaded.warnings:
        warn(message)
    whole = graph.build(steps.declare(loaded))
    return loaded, graph.restrict(whole, request.targets) if request.targets else whole


def make_plan(request: Request, warn: Callable[[str], None]) -> Plan:
    """What `apply` would do; nothing is written."""
    return look(request, warn)[0]


def look(request: Request, warn: Callable[[str], None]) -> tuple[Plan, Store]:
    """The plan and the store it was made for; nothing is written."""
    loaded, wanted = load_graph(request, warn)
    opened = store.read(loaded.store)
    return _plan(wanted, _forced(wanted, request), opened, epoch()), opened


@dataclass(frozen=True)
class Manner:
    """How it is done."""

    jobs: int
    """Steps at once."""
    keep_going: bool = False
    """After a failure, do what does not depend on it."""
    lock_seconds: float = 60
    """How long to wait for another writer of the store."""


def apply(
    request: Request, manner: Manner, reporter: PlanReporter, warn: Callable[[str], None]
) -> tuple[Plan, tuple[Result, ...]]:
    """Bring the store to what the manifests declare.

    Raises:
        ManifestError, UsageError: nothing was touched.
        BusyError: another writer did not let go of the store in time.
        StoreError: the store can't be written; what was published before stays whole.
    """
    loaded, wanted = load_graph(request, warn)
    forced = _forced(wanted, request)
    limits = execute.Limits(jobs=manner.jobs, keep_going=manner.keep_going, epoch=epoch())
    with store.writing(loaded.store, timeout_seconds=manner.lock_seconds) as opened:
        made = _plan(wanted, forced, opened, limits.epoch)
        while opened.lock(_owners(made)):  # whoever had the lock may have done the work
            made = _plan(wanted, forced, opened, limits.epoch)
        reporter.planned(made)
        return made, execute.execute(made, opened, LocalHost(opened, limits.epoch), reporter, limits)


def _owners(made: Plan) -> frozenset[str]:
    """The VMs and images of which something is to be done: `vm.web` for `vm.web.root`."""
    changing = (action.id for action in made.actions if action.verb not in {Verb.KEEP, Verb.BLOCKED})
    return frozenset(".".join(step_id.split(".")[:2]) for step_id in changing)


def _forced(wanted: Graph, request: Request) -> frozenset[str]:
    for name in request.replace:
        if "." not in name:  # what is right for --target would discard everything here
            raise UsageError(f"--replace {name} names no VM, image or step", hint=f"--replace {name}.NAME")
    return frozenset(step_id for name in request.replace for step_id in graph.matching(wanted, name))


def _plan(wanted: Graph, forced: frozenset[str], opened: Store, seconds: int) -> Plan:
    return plan.make(wanted, opened, LocalHost(opened, seconds), epoch=seconds, forced=forced)


def epoch() -> int:
    """Seconds since 1970 for every time that we make ourselves.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is set to something else than a positive whole number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", str(DEFAULT_EPOCH))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 32:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is '{text}': it must be a number of seconds from 1 to {(1 << 32) - 1}",
            hint="unset SOURCE_DATE_EPOCH",
        )
    return int(text)
