"""A plan: an action with reasons for every step; and how each action ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from bangerbuild.model.reason import ReasonCode, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.errors import BangerError
    from bangerbuild.model.content import Pin
    from bangerbuild.model.image_cache import Offer
    from bangerbuild.model.reason import Json, Reason
    from bangerbuild.model.recipe import Recipe, Record
    from bangerbuild.model.step import Step
    from bangerbuild.model.verdict import FileDiff


MOST_REMEMBERED = 16
"""The most reasons of a run that its record keeps."""
_NO_STAND_INS: Mapping[str, Record] = {}


@dataclass(frozen=True, slots=True)
class Action:
    """What a plan means to do about one step."""

    step: Step
    verb: Verb
    reasons: tuple[Reason, ...]
    recipe: Recipe
    fingerprint: str
    """Of the recipe that will hold afterwards; for a kept step, of the recorded one."""
    artifacts: tuple[str, ...]
    remakes_disk: bool = False
    """Whether an update makes the disk anew that it changes: no guest has changed it since we last did."""
    untouched: bool = False
    """Whether the action is void if somebody writes to the disk before it is executed."""
    diffs: tuple[FileDiff, ...] = ()
    warnings: tuple[str, ...] = ()
    """What executing it will warn of, as far as it is known before."""
    notes: tuple[str, ...] = ()
    """What there is to say of what it will make."""
    pin: Pin | None = None
    """What the step's source stands for, if it lies elsewhere."""
    offer: Offer | None = None
    """Where it is fetched from, instead of being built."""
    stand_ins: Mapping[str, Record] = field(default_factory=lambda: _NO_STAND_INS)
    """Inputs of which the step takes another than today's, by their ids; see `Step.from_base`."""

    @property
    def id(self) -> str:
        """The step's id."""
        return self.step.id

    @property
    def in_use(self) -> bool:
        """Whether something must be done to a disk that somebody else holds open."""
        return any(reason.code is ReasonCode.IN_USE for reason in self.reasons)

    @property
    def is_damaged(self) -> bool:
        """Whether the disk was found to be damaged."""
        return any(
            reason.code is ReasonCode.ARTIFACT_MODIFIED and "error" in reason.facts for reason in self.reasons
        )

    @property
    def stays(self) -> bool:
        """Whether what was there before stays, and is at most changed in place."""
        return self.verb not in {Verb.CREATE, Verb.FETCH, Verb.REPLACE}

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The artifacts whose absence would change the action: its own, and those of its stand-ins."""
        return self.artifacts + tuple(path for one in self.stand_ins.values() for path in one.artifacts)

    @property
    def why(self) -> Json:
        """What its record keeps of why it was executed."""
        return {
            "action": self.verb.value,
            "reasons": [one.to_json() for one in self.reasons[:MOST_REMEMBERED]],
        }

    @property
    def pending(self) -> bool:
        """Whether executing the plan runs this step; what only moves, moves with its VM before that."""
        return self.verb not in {Verb.KEEP, Verb.MOVE, Verb.BLOCKED} and not self.in_use

    @property
    def moves(self) -> bool:
        """Whether executing the plan does no more than give its artifacts their VM's new name."""
        return self.verb is Verb.MOVE and not self.in_use


@dataclass(frozen=True)
class Relocation:
    """A VM that another node has now than before; its disks stay on the one of before."""

    vm: str
    old: str
    new: str
    disks: tuple[str, ...]
    """Those artifacts that are disks."""
    is_here: bool
    """Whether the store that is planned for has them."""


@dataclass(frozen=True)
class Plan:
    """Actions in topological order, kept steps too."""

    store: Path
    actions: tuple[Action, ...]
    origin: object = field(default=None, repr=False, compare=False)
    """What it was made from, for `apply`; None: it is only to be looked at."""
    undeclared: tuple[str, ...] = ()
    """The VMs and networks in the store that the manifests declared last, and no longer do."""
    orphans: Mapping[str, str] = field(default_factory=dict)
    """The VMs and networks in the store whose manifest is renamed or gone, and that manifest's path."""
    unjudged: frozenset[str] = frozenset()
    """Ids of steps with a source that can't be read, of which nothing is known; only to be looked at."""
    fleets: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)
    """The names of the VMs of each fleet, which are shown together."""
    moves: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The VMs that are moved before anything else is done: the old names by the new ones."""
    nodes: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """The node of each VM, where there are nodes."""
    relocations: tuple[Relocation, ...] = ()
    """The VMs whose disks stay behind on another node than theirs."""

    def counts(self) -> dict[Verb, int]:
        """How many actions there are of each verb."""
        counts = dict.fromkeys(Verb, 0)
        for action in self.actions:
            counts[action.verb] += 1
        return counts


class Outcome(StrEnum):
    """How an action ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """How one action ended, after how many seconds, with which error."""

    id: str
    outcome: Outcome
    seconds: float = 0.0
    error: BangerError | None = None
