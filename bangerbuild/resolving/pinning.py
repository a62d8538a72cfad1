"""From a loaded manifest to one whose sources are pinned, and to the lock file that says so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from bangerbuild import store
from bangerbuild.planning.host import LocalHost
from bangerbuild.resolving import lockfile, pins
from bangerbuild.resolving.lockfile import LockFile
from bangerbuild.sources.world import RemoteWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Record, Source
    from bangerbuild.resolving.pins import Wish


@dataclass(frozen=True)
class Means:
    """See `remote.means`: how sources are asked before there is a plan."""

    epoch: int
    offline: bool
    progress: Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Pinned:
    """A manifest with its pins, and what is to become of its lock file."""

    manifest: Manifest
    path: Path | None
    """Of the lock file; None: the manifest is no file, and has none."""
    before: LockFile
    after: LockFile

    def write(self) -> None:
        """Bring the lock file up to date, if it is not.

        Raises:
            LockFileError: it can't be written.
            BusyError: somebody else has changed it since it was read.
        """
        if self.path and self.before != self.after:
            lockfile.write(self.path, self.before, self.after)

    def changes(self) -> Iterator[Change]:
        """What of the lock file is no longer as it was."""
        for place in sorted({*self.before.entries, *self.after.entries}):
            old, new = self.before.entries.get(place), self.after.entries.get(place)
            if old != new:
                yield Change(place, old, new)


@dataclass(frozen=True)
class Change:
    """One place of a lock file, before and after; None: there is no entry."""

    place: str
    old: lockfile.LockEntry | None
    new: lockfile.LockEntry | None


def pinned(manifest: Manifest, wish: Wish, means: Means) -> Pinned:
    """Pin what is needed; nothing is written.

    Raises:
        LockFileError: the lock file can't be used, says something else, or would have to be changed.
        SourceError, FetchError, ToolError: what has to be asked gives no answer.
    """
    path = lockfile.path_beside(manifest) if manifest.files else None
    before = lockfile.read(path) if path else LockFile()
    opened = cache(lambda: store.read(manifest.store))  # looked into only where something is to be pinned

    def digest(source: Source) -> str:
        return LocalHost(opened(), means.epoch).digest(source)

    def recorded(place: str) -> Record | None:
        return opened().records.get(place)

    settled = pins.settle(manifest, before, recorded, RemoteWorld(digest, means), wish)
    return Pinned(settled.manifest, path, before, settled.lock)
