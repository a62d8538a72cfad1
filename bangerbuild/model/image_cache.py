"""What a plan asks of a cache of built images, as values and a Protocol; `cache_registry` has the cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bangerbuild.model.reason import Json
    from bangerbuild.model.recipe import Recipe


@dataclass(frozen=True)
class LockedImage:
    """What the lock file holds of an artifact of an image that was pushed, by name and fingerprint."""

    part: str
    """Of the image, such as `rootfs`."""
    digest: str
    """Of the description of what was built, sha256, 64 hex digits. It has the digests of all files."""
    recipe: str
    """The fingerprint of the recipe but for the versions of the host's tools."""
    tools: Mapping[str, str]
    """These versions."""


class Wanted(NamedTuple):
    """An artifact that would have to be built."""

    step_id: str
    recipe: Recipe
    fingerprint: str


@dataclass(frozen=True)
class Offer:
    """An artifact that a cache has, and that may be taken."""

    reference: str
    """Of exactly what was looked at, by its digest."""
    written: str
    """What messages call it."""
    recipe: Recipe
    """By which it was built; it differs from the wanted one in versions of tools at most."""
    fingerprint: str
    size_bytes: int
    """Of all that belongs to it, as it is transported."""
    digest: str | None = None
    """What its description must be, as the lock file says; None: the cache is trusted."""


@dataclass(frozen=True)
class Answer:
    """What a cache has for a wanted artifact."""

    offer: Offer | None = None
    warnings: tuple[str, ...] = ()
    """Why it could not be asked, or may not be believed."""


@dataclass(frozen=True)
class Fetched:
    """An artifact that was brought here and judged."""

    files: Mapping[str, Path]
    """In a private directory, by the names that they have in the store."""
    digests: Mapping[str, str]
    """Of these files, see `disk/clone.py`."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What the step that built it remembers."""


class ImageCache(Protocol):
    """A cache of built images."""

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Find out at once what is there of several artifacts, so that `find` need not wait for each."""

    def find(self, wanted: Wanted) -> Answer:
        """What there is for a wanted artifact. It raises nothing: a cache that fails has nothing."""
