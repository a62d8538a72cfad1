"""What a step reads, of a store's records alone: what was made last, whatever is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.model import Json
    from bangerbuild.store import Store


class Recorded:
    """The part of a `View` that asks for what other steps made."""

    def __init__(self, opened: Store) -> None:
        self._store = opened

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """Where its artifacts are."""
        if step_id not in self._store.records:
            raise StoreError(f"'{step_id}' was not made yet", hint="bangerbuild apply")
        return self._store.records[step_id].artifacts

    def artifact(self, step_id: str) -> str:
        """Where its first artifact is."""
        return self.artifacts(step_id)[0]

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What it remembers."""
        self.artifacts(step_id)
        return self._store.records[step_id].facts

    def path(self, artifact: str) -> Path:
        """In the store."""
        return self._store.path / artifact
