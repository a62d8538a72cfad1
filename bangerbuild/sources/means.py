"""What bringing things here needs of whoever wants them, and the user's cache."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bangerbuild import observed
from bangerbuild.fetch.cache import Cache, default_path

if TYPE_CHECKING:
    from collections.abc import Iterator


class Means(Protocol):
    """A step's workspace is one; so is who asks before there is a plan."""

    @property
    def epoch(self) -> int:
        """Seconds since 1970 for every time that we make ourselves."""

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """How far something is that takes long."""


@contextmanager
def users_cache() -> Iterator[Cache]:
    """The user's cache; what it hands out stays there until it is closed.

    What is read meanwhile is not noted: whatever lies in the cache is found by its digest.
    """
    with observed.unrecorded(), Cache(default_path(os.environ)) as cache:
        yield cache
