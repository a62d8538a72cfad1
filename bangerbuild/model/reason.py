"""Why something is done: verbs and reasons, and the JSON that they are shown as."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.errors import BangerError


Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Verb(StrEnum):
    """What is done about a step."""

    KEEP = "keep"
    CREATE = "create"
    FETCH = "fetch"
    MOVE = "move"
    ADOPT = "adopt"
    UPDATE = "update"
    GROW = "grow"
    REPLACE = "replace"
    BLOCKED = "blocked"


class ReasonCode(StrEnum):
    """Why; the facts that go with each code are named beside it."""

    MISSING = "missing"
    RECIPE_CHANGED = "recipe-changed"
    """key, and old and new where they may be shown."""
    SOURCE_CHANGED = "source-changed"
    """path."""
    INPUT_CHANGED = "input-changed"
    """id."""
    TOOL_CHANGED = "tool-changed"
    """tool, old, new."""
    ARTIFACT_MODIFIED = "artifact-modified"
    """path; error and hint where it can't be used, stays where not even --replace takes its place."""
    FILE_DIFFERS = "file-differs"
    """guest."""
    FILE_UNDECLARED = "file-undeclared"
    """guest."""
    SIZE_GROW = "size-grow"
    """old, new: bytes."""
    SIZE_SHRINK = "size-shrink"
    """old, new: bytes."""
    GUEST_WROTE = "guest-wrote"
    """bytes: about how much, where that can be told."""
    BASE_BEHIND = "base-behind"
    """id: of the image that it stands on."""
    BASE_UNKNOWN = "base-unknown"
    """missing: the image that is gone; or base, as the store says, and recorded."""
    IN_USE = "in-use"
    """holder."""
    INTERRUPTED = "interrupted"
    FORCED = "forced"
    WOULD_FAIL = "would-fail"
    """message; hint and details, where there are any. What the run is known to fail at."""
    PATH_IN_THE_WAY = "path-in-the-way"
    """guest; what is there and what is to be there. Something that is not ours is where a file belongs."""
    DISK_GONE = "disk-gone"
    """path: a disk that a guest may have written to, and that is not where it was."""
    RENAMED = "renamed"
    """old: what the VM was called; there and hint where both are there, so that neither can have the name."""


@dataclass(frozen=True)
class Reason:
    """One reason of an action: a code and its facts, which are JSON."""

    code: ReasonCode
    facts: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The reason as `plan --json` shows it: the facts beside the code."""
        return {"code": self.code.value, **self.facts}


def would_fail(err: BangerError) -> Reason:
    """What a run would fail with, as the reason not to begin it."""
    facts: dict[str, Json] = {"message": err.brief}
    more = {"hint": err.hint, "details": err.details}
    return Reason(ReasonCode.WOULD_FAIL, facts | {name: text for name, text in more.items() if text})
