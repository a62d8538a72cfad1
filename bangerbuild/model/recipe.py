"""All that decides an artifact's bytes, and what the store remembers of the run that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model.reason import Json


DESTROYED = "destroyed"
"""The fact of a record whose artifacts are being removed because somebody asked for it."""


OWN_TOOL = "bangerbuild "
"""How the name begins under which the version of a kind of step counts among the tools."""
TIME_TOOL = "SOURCE_DATE_EPOCH"
"""The name under which the time of what we make ourselves does."""


def remembered(facts: Mapping[str, Json], key: str, step_id: str) -> Json:
    """A fact that every record of the step's kind has.

    Raises:
        StoreError: the record is damaged.
    """
    if facts.get(key) is None:
        raise StoreError(
            f"the record of '{step_id}' is damaged: it does not say '{key}'",
            hint="`bangerbuild recover` makes records of what lies in the store",
        )
    return facts[key]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides an artifact's bytes."""

    kind: str
    fields: Mapping[str, Json]
    """The step's own fields under their dotted manifest keys."""
    inputs: Mapping[str, str]
    """Step id to fingerprint."""
    sources: Mapping[str, str]
    """Role to digest."""
    tools: Mapping[str, str]
    """Name to version."""


def host_tools(recipe: Recipe) -> dict[str, str]:
    """The versions of what the host has: not those of our own steps, nor the time that was asked for."""
    return {
        name: version
        for name, version in recipe.tools.items()
        if not name.startswith(OWN_TOOL) and name != TIME_TOOL
    }


@dataclass(frozen=True)
class Record:
    """What the store remembers of the last run of a step."""

    id: str
    recipe: Recipe
    fingerprint: str
    artifacts: tuple[str, ...]
    """Paths relative to the store."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What the step itself wants to remember, such as the digests of the files it wrote into a guest."""

    def fact(self, key: str) -> Json:
        """What is remembered under a key, which every record of its kind has.

        Raises:
            StoreError: this one has not.
        """
        return remembered(self.facts, key, self.id)

    @property
    def step_id(self) -> str:
        """The step's id; one that is remembered for each fingerprint has that behind it in `id`."""
        return self.id.removesuffix(f"@{self.fingerprint}")
