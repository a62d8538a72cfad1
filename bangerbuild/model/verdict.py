"""`Situation`, `Verdict` and `Preview`: what a step is told when a plan is made, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.model.reason import Reason, ReasonCode, Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.model.reason import Json
    from bangerbuild.model.recipe import Record


@dataclass(frozen=True)
class FileDiff:
    """What a patch would do to one guest file."""

    guest: str
    text: str | None = None
    """A unified diff; None: only that it changes may be said, or there is nothing readable to say."""
    note: str | None = None
    """What is said in place of a diff: `binary, 512 bytes`, `changes (contents not shown)`."""

    def to_json(self) -> dict[str, Json]:
        """The diff as `plan --json` shows it."""
        return {"guest": self.guest, "diff": self.text, "note": self.note}


@dataclass(frozen=True)
class Preview:
    """What an update would change inside a guest, and what only a look at the guest tells of why."""

    diffs: tuple[FileDiff, ...] = ()
    reasons: tuple[Reason, ...] = ()
    obstacles: tuple[Reason, ...] = ()
    """What the update is known to fail at; then it is not begun."""


@dataclass(frozen=True)
class Situation:
    """How things stand for one step, when it is asked for a verdict."""

    record: Record | None
    changes: tuple[Reason, ...]
    """Differences between the recorded recipe and today's, tools apart."""
    missing: bool
    """Whether an artifact is not there."""
    modified: Callable[[], bool]
    """Whether an artifact has other bytes than were last published. Asking may read all of it."""
    disk_verb: Verb | None = None
    """For a step that changes another's artifact in place: what happens to that artifact."""
    file_bytes: int | None = None
    """The size that a disk has now; None if it is not there, or the step makes none."""
    allocated_bytes: int | None = None
    """What it takes up on its filesystem; None likewise."""
    found: tuple[Reason, ...] = ()
    """What the step's `inspect` said; nothing where it was not asked."""


@dataclass(frozen=True)
class Verdict:
    """What a step says should be done about it, and why."""

    verb: Verb
    reasons: tuple[Reason, ...] = ()


TO_MAKE = Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
"""The verdict on what is not there: one value for all of it."""
