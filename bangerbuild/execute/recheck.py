"""What others may have changed since the plan was made: what steps read, and disks that a guest may write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import BusyError, SourceError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import TypeAlias

    from bangerbuild.model import Action, Host, Plan
    from bangerbuild.store import Stamp, Store

    _Look: TypeAlias = tuple[int, int, int]


class Sources:
    """What the jobs of a run read; each source is looked at once for all that ask at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._digests: dict[object, str] = {}
        self._changed: set[object] = set()
        """What had changed once is not to be trusted again: what was read of it may be shared."""

    def look_again(self) -> None:
        """Forget what was seen."""
        self._digests.clear()

    def check(self, action: Action) -> None:
        """Refuse what a step made of something else than was planned.

        Raises:
            SourceError: it did.
        """
        for source in action.step.sources:
            if source.path is None:  # it was compared with its pin when it was brought here
                continue
            what = source.path, source.rules, source.pin
            if what not in self._digests:
                self._digests[what] = self._host.digest(source)
            if what in self._changed or self._digests[what] != action.recipe.sources[source.role]:
                self._changed.add(what)
                raise SourceError(f"'{source.written}' changed while it was read", hint="run it again")


@dataclass(frozen=True)
class _Disk:
    """A disk as it was when planned."""

    look: _Look | None
    """What tells that nobody has written to it; None: it was not there."""
    untouched: bool


class Disks:
    """The disks that guests may write and that a plan replaces or changes.

    Args:
        plan: which ones, and whether they are ours.
        store: where they lie.
        host: asked who has one open.
    """

    def __init__(self, plan: Plan, store: Store, host: Host) -> None:
        self._store = store
        self._host = host
        self._disks: dict[str, _Disk] = {}
        self.errors: dict[str, BusyError] = {}
        """Why artifacts might not be taken."""
        for action in plan.actions:
            if action.pending and action.step.exclusive:
                for artifact in action.artifacts:
                    known = self._disks.get(artifact)
                    untouched = action.untouched or (known is not None and known.untouched)
                    self._disks[artifact] = _Disk(_look(store.status(artifact)), untouched)

    def note(self, changed: Mapping[str, Stamp]) -> None:
        """What we changed ourselves, where it lies, is no sign of somebody else."""
        for artifact, stamp in changed.items():
            self._disks[artifact] = _Disk((stamp.inode, stamp.size, stamp.mtime_ns), untouched=False)

    def may_take(self, artifact: str) -> bool:
        """Whether an artifact may be replaced or changed still."""
        error = self._error(artifact)
        if error:
            self.errors[artifact] = error
        return error is None

    def _error(self, artifact: str) -> BusyError | None:
        """Why it may not, although the plan was to."""
        disk = self._disks.get(artifact)
        if disk is None:
            return None
        was_ours = disk.look is not None and disk.untouched
        if _look(self._store.status(artifact)) != disk.look or (was_ours and self._store.modified(artifact)):
            return BusyError(f"'{artifact}' was changed by someone else meanwhile", hint="run it again")
        holder = self._host.holder(self._store.path / artifact) if disk.look else None
        if holder:
            return BusyError(f"'{artifact}' is in use by {holder} now", hint="shut the VM down first")
        return None


def _look(status: os.stat_result | None) -> _Look | None:
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)
