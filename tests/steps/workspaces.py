"""A workspace that is a directory, for what a step reads and makes by itself."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from bangerbuild.formats.survey import survey
from bangerbuild.model import Verb
from tests.disk.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.formats.survey import Survey
    from bangerbuild.model import Json, Pin, Revealed, Secret, Source

T = TypeVar("T")


@dataclass
class OneStep(Desk):
    """The job of one step; artifacts lie in its directory under their own names."""

    verb: Verb = Verb.CREATE
    known: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    """The facts of other steps."""
    made: list[str] = field(default_factory=list)
    """What was created."""
    pin: Pin | None = None
    offline: bool = False
    remakes_disk: bool = False
    told: list[tuple[str, int, int | None]] = field(default_factory=list)
    run: ExitStack = field(default_factory=ExitStack)
    """Closes what is shared; the test's, as a run's end is."""
    kept: dict[object, object] = field(default_factory=dict)

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        if key not in self.kept:
            self.kept[key] = self.run.enter_context(make())
        return cast("T", self.kept[key])

    def artifact(self, step_id: str) -> str:
        return f"{step_id}.ext4"

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        return (self.artifact(step_id),)

    def facts(self, step_id: str) -> Mapping[str, Json]:
        return self.known.get(step_id, {})

    def survey(self, source: Source) -> Survey:
        assert source.path is not None
        assert source.rules is not None
        return survey(source.path, source.rules)

    def revealed(self, secret: Secret) -> Revealed:
        raise AssertionError(f"nothing here holds a secret: {secret}")

    def ledger(self, step_id: str) -> Mapping[str, str]:
        raise AssertionError(f"{step_id} has no ledger")

    def is_kept(self, step_id: str) -> bool:
        return (self.staging / self.artifact(step_id)).is_file()

    def is_as_left(self, artifact: str) -> bool:  # noqa: ARG002  # the Protocol's
        return False

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        raise AssertionError(f"{step_id} has no ledger")

    def is_new(self, artifact: str) -> bool:
        return artifact in self.made

    def is_staged(self, artifact: str) -> bool:
        return artifact in self.made

    def create(self, artifact: str, *, guests: bool = False) -> Path:
        self.made.append(f"{artifact} (a guest's)" if guests else artifact)
        (self.staging / artifact).parent.mkdir(parents=True, exist_ok=True)
        return self.staging / artifact

    def intend(self, files: Mapping[str, str]) -> None:
        raise AssertionError(f"nothing is written into a guest: {files}")

    def wrote(self, files: Mapping[str, str]) -> None:
        raise AssertionError(f"nothing is written into a guest: {files}")

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self.told.append((what, done_bytes, total_bytes))

    def advanced(self, done_bytes: int, total_bytes: int | None) -> None:
        self.told.append(("", done_bytes, total_bytes))

    def say(self, what: str, line: str) -> None:
        raise AssertionError(f"no program works for this: {what}, {line}")
