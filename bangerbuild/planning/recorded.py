"""What a step reads, of a store's records alone: what was made last, whatever is declared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.model import Json, Record
    from bangerbuild.store import Store


class _Runs:
    """All runs that a store has records of."""

    def __init__(self, opened: Store) -> None:
        self.opened = opened

    @cached_property
    def by_fingerprint(self) -> Mapping[str, Record]:
        """What was taken out of an image may have a record of another image's name."""
        return {record.fingerprint: record for record in self.opened.records.values()}

    def of(self, step_id: str, fingerprint: str | None) -> Record | None:
        """The run of a step with this fingerprint, else its last one."""
        last = self.opened.records.get(step_id)
        if fingerprint is None or (last is not None and last.fingerprint == fingerprint):
            return last
        own = self.opened.records.get(f"{step_id}@{fingerprint}")
        return own or self.by_fingerprint.get(fingerprint) or last


@dataclass(frozen=True)
class Recorded:
    """The part of a `View` that asks for what other steps made."""

    opened: Store
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the runs that are meant, where these need not be the last ones."""
    _runs: _Runs | None = None

    def as_input_of(self, step_id: str) -> Recorded:
        """The same as a step found it when it ran last."""
        record = self.opened.records.get(step_id)
        return replace(self, inputs=record.recipe.inputs if record else {}, _runs=self._known)

    @cached_property
    def _known(self) -> _Runs:
        return self._runs or _Runs(self.opened)

    def _run(self, step_id: str) -> Record:
        found = self._known.of(step_id, self.inputs.get(step_id))
        if found is None:
            raise StoreError(f"'{step_id}' was not made yet", hint="bangerbuild apply")
        return found

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """Where its artifacts are."""
        return self._run(step_id).artifacts

    def artifact(self, step_id: str) -> str:
        """Where its first artifact is."""
        return self.artifacts(step_id)[0]

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What it remembers."""
        return self._run(step_id).facts

    def path(self, artifact: str) -> Path:
        """In the store."""
        return self.opened.path / artifact
