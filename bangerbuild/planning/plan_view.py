"""What steps may read while they are planned, and what they share: an image is opened once for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from bangerbuild.model import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager, ExitStack

    from bangerbuild.epoch import Epoch
    from bangerbuild.formats.survey import Survey
    from bangerbuild.model import Action, Host, Json, Record, Revealed, Secret, Source
    from bangerbuild.store import Store

T = TypeVar("T")


@dataclass
class KeptOpen:
    """What steps share while they are planned, one after the other; the stack closes it."""

    stack: ExitStack
    made: dict[object, object] = field(default_factory=dict)

    def get(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What the key stands for, made by the first that asks."""
        if key not in self.made:
            self.made[key] = self.stack.enter_context(make())
        return cast("T", self.made[key])


@dataclass(frozen=True)
class PlanView:
    """What a step may read while it is planned: published artifacts only."""

    store: Store
    actions: Mapping[str, Action]
    epoch: Epoch
    host: Host
    kept: KeptOpen
    stand_ins: Mapping[str, Record] = field(default_factory=dict)
    """Inputs of which another than today's is meant."""

    def artifact(self, step_id: str) -> str:
        """The name of an input's artifact."""
        return self.artifacts(step_id)[0]

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """The names of all its artifacts."""
        return (self.stand_ins.get(step_id) or self.actions[step_id]).artifacts

    def is_kept(self, step_id: str) -> bool:
        """Whether what an input made is there, and stays as it is."""
        return step_id in self.stand_ins or self.actions[step_id].verb is Verb.KEEP

    def path(self, artifact: str) -> Path:
        """A published artifact."""
        return Path(self.store.place(artifact))

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What an input remembers of the run that made what it has now."""
        if step_id in self.stand_ins:
            return self.stand_ins[step_id].facts
        action = self.actions.get(step_id)
        record = self.store.record(step_id, action.fingerprint) if action else self.store.records.get(step_id)
        return record.facts if record else {}

    def survey(self, source: Source) -> Survey:
        """A host tree, as it was when its digest was taken."""
        return self.host.survey(source)

    def revealed(self, secret: Secret) -> Revealed:
        """A secret, as it was read for this run."""
        return self.host.revealed(secret)

    def ledger(self, step_id: str) -> Mapping[str, str]:
        """What a step that changes a disk wrote there in its last run."""
        return self.store.ledger(step_id)

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        """What interrupted runs of it were about to write there since."""
        return self.store.intended_ledger(step_id)

    def is_as_left(self, artifact: str) -> bool:
        """Whether a disk is as a run or a look left it last."""
        return self.store.is_as_left(artifact)

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What steps share while they are planned."""
        return self.kept.get(key, make)
