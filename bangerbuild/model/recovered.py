"""What can be told of a step whose record is lost, from what lies in the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model.reason import Json


@dataclass(frozen=True)
class Recovered:
    """What a step takes for its last run; where it says nothing, that the manifest is what was built."""

    artifacts: tuple[str, ...]
    facts: Mapping[str, Json] = field(default_factory=dict)
    guests: bool = False
    """Whether the artifacts count as written to by a guest, as nobody can tell that of a disk."""
    kind: str | None = None
    """Of the step that made it; None: the one that is declared."""
    fields: Mapping[str, Json] = field(default_factory=dict)
    """What of the recipe is another than declared."""
    inputs: Mapping[str, str] | None = None
    """Fingerprints of the inputs that it was made from; None: those of today."""
    written: Mapping[str, str] | None = None
    """What a patch has written, by guest path; None: it is no patch."""


@dataclass(frozen=True)
class Unrecovered:
    """Why nothing can be told of something that is there."""

    path: str
    why: str


@dataclass(frozen=True)
class Stray:
    """A file of a VM that no manifest declares, and the step that makes files of its name."""

    id: str
    kind: str
    recovered: Recovered
