"""Resolve the sources of a loaded manifest: find the pin of each, and the lock file that results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bangerbuild import leases, store
from bangerbuild.errors import LockFileError, few
from bangerbuild.planning.host import LocalHost
from bangerbuild.resolving import lockfile, pins
from bangerbuild.resolving.lockfile import LockFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.epoch import Epoch
    from bangerbuild.leases import Given
    from bangerbuild.model import Pin, Progress, Record, Source
    from bangerbuild.resolving.pins import ResolveOptions
    from bangerbuild.store import Store


@dataclass(frozen=True)
class Asking:
    """An `AskContext`, and the store, which is opened only if something is to be asked of it."""

    store: Path
    epoch: Epoch
    offline: bool
    progress: Progress = field(compare=False)
    opened: Store | None = field(default=None, compare=False)
    """The store where it is open already."""

    @cached_property
    def _opened(self) -> Store:
        return self.opened or store.read(self.store)

    def digest(self, source: Source) -> str:
        """The digest of a file of the host; the store may know it."""
        return LocalHost(self._opened, self.epoch).digest(source)

    def record(self, step_id: str) -> Record | None:
        """What the store has of the last run of a step."""
        return self._opened.records.get(step_id)


@dataclass(frozen=True)
class Resolved:
    """What the sources stand for, and what is to become of the lock file."""

    pins: Mapping[str, Pin]
    """By place, which is the id of the step that builds from the source."""
    path: Path | None
    """Of the lock file; None: the manifest is no file, and has none."""
    before: LockFile
    after: LockFile

    def write(self) -> None:
        """Bring the lock file up to date, if it is not.

        Raises:
            LockFileError: it can't be written.
            BusyError: another process has changed it since it was read.
        """
        if self.path and self.before != self.after:
            lockfile.write(self.path, self.before, self.after)

    def leased(self) -> Iterator[tuple[str, str, str]]:
        """What is leased anew: the table, the VM, and what it has now."""
        for table, held in sorted(self.after.leases.items()):
            known = self.before.leases.get(table, {})
            yield from ((table, name, held[name]) for name in sorted(held) if held[name] != known.get(name))

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


def resolve(manifest: Manifest, options: ResolveOptions, asking: Asking) -> Resolved:
    """Pin what is needed; nothing is written.

    Raises:
        LockFileError: the lock file can't be used, says something else, or would have to be changed.
        SourceError, FetchError, ToolError: what has to be asked gives no answer.
    """
    path = lockfile.path_beside(manifest) if manifest.files else None
    before = lockfile.read(path) if path else LockFile()
    if options.locked and manifest.leases:
        raise _unleased(manifest.leases)
    if options.locked and manifest.released:
        raise _taken_over(manifest.released)
    settled = pins.settle(manifest, before, asking.record, asking, options)
    held = {
        table: {name: one for name, one in leased.items() if name not in manifest.released.get(table, ())}
        for table, leased in before.leases.items()
    }
    after = replace(settled.lock, leases=_leases(held, manifest.leases), pushed=before.pushed)
    return Resolved(settled.pins, path, before, after)


def _leases(held: Given, new: Given) -> Given:
    """What was leased before, and what is leased now."""
    return {name: {**held.get(name, {}), **new.get(name, {})} for name in {**held, **new}}


def _taken_over(released: Mapping[str, tuple[str, ...]]) -> LockFileError:
    names = [name for names in released.values() for name in names]
    return LockFileError(
        f"{leases.FILE_NAME} would have to be changed: "
        f"it has the {_what(released)} of VMs that have another now, or another name: {few(names)}",
        hint="bangerbuild lock",
    )


def _unleased(new: Given) -> LockFileError:
    names = dict.fromkeys(name for given in new.values() for name in given)
    return LockFileError(
        f"{leases.FILE_NAME} would have to be changed: it holds no {_what(new)} for {few([*names], 'VMs')}",
        hint="bangerbuild lock",
    )


def _what(tables: Iterable[str]) -> str:
    """What is leased in these tables: `address`, `node`, or `address or node`."""
    kinds = [kind.what for kind in leases.KINDS if any(leases.kind_of(table) is kind for table in tables)]
    return " or ".join(kinds)
