"""The check before publishing: nobody has changed a source or a disk since the plan was made.

A run may take minutes, and nothing on the host is locked for it but the store. What was made of a source that
changed is not published, and a disk that another program wrote to is not replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import BusyError, SourceError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from bangerbuild.model import Action, Host, Plan
    from bangerbuild.store import Stamp, Store

    _State: TypeAlias = tuple[int, int, int]
    """Inode, size and mtime of a disk: the same as long as nobody writes to it."""


class Sources:
    """Compares host files and trees with the digests in the recipes, each source once for a batch of jobs.

    Args:
        host: takes the digests.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._digests: dict[object, str] = {}
        self._changed: set[object] = set()
        """Sources that differed once. One that is as it was again stays here: jobs share what they read."""

    def forget(self) -> None:
        """Take new digests for the next batch."""
        self._digests.clear()

    def check(self, action: Action) -> None:
        """Compare the sources of a step that ran.

        Raises:
            SourceError: one of them is not, or was not, what the step was planned with.
        """
        for source in action.step.sources:
            if source.path is None:  # it was compared with its pin when it was brought here, or is a secret
                continue
            key = source.content_key
            if key not in self._digests:
                self._digests[key] = self._host.digest(source)
            if key in self._changed or self._digests[key] != action.recipe.sources[source.role]:
                self._changed.add(key)
                raise SourceError(f"'{source.written}' changed while it was read", hint="run it again")


@dataclass(frozen=True)
class _PlannedDisk:
    """A disk as it was when it was planned, or when this run last changed it."""

    state: _State | None
    """None: it was not there."""
    must_be_untouched: bool
    """Whether the plan replaces it only because no guest had written to it."""


class Disks:
    """The disks that a plan replaces or changes; a guest may be started on one of them at any time.

    Args:
        plan: which disks, and why they may be replaced.
        store: where they lie.
        host: says who has one open.
    """

    def __init__(self, plan: Plan, store: Store, host: Host) -> None:
        self._store = store
        self._host = host
        self._disks: dict[str, _PlannedDisk] = {}
        self.errors: dict[str, BusyError] = {}
        """By artifact: why it may not be taken."""
        for action in plan.actions:
            if action.pending and action.step.exclusive:
                for artifact in action.artifacts:
                    known = self._disks.get(artifact)
                    untouched = action.untouched or (known is not None and known.must_be_untouched)
                    self._disks[artifact] = _PlannedDisk(_state(store.status(artifact)), untouched)

    def note_own(self, changed: Mapping[str, Stamp]) -> None:
        """Expect disks as this run has changed them in place."""
        for artifact, stamp in changed.items():
            state = stamp.inode, stamp.size, stamp.mtime_ns
            self._disks[artifact] = _PlannedDisk(state, must_be_untouched=False)

    def may_take(self, artifact: str) -> bool:
        """Whether an artifact may still be replaced or changed; if not, `errors` says why."""
        error = self._error(artifact)
        if error:
            self.errors[artifact] = error
        return error is None

    def why_refused(self, artifacts: Sequence[str]) -> BusyError:
        """Why a job was not published that makes these; unless `may_take` knows, a disk was just opened."""
        known = next(filter(None, map(self.errors.get, artifacts)), None)
        return known or BusyError(
            f"'{artifacts[0]}' was opened by another program while it was replaced: the old one stays",
            hint="shut the VM down first",
        )

    def _error(self, artifact: str) -> BusyError | None:
        disk = self._disks.get(artifact)
        if disk is None:
            return None
        is_checked = disk.state is not None and disk.must_be_untouched
        is_other = _state(self._store.status(artifact)) != disk.state
        if is_other or (is_checked and self._store.modified(artifact)):
            brief = f"'{artifact}' was changed by someone else since it was planned"
            return BusyError(brief, hint="run it again")
        holder = self._host.holder(self._store.path / artifact) if disk.state else None
        if holder:
            return BusyError(f"'{artifact}' is in use by {holder} now", hint="shut the VM down first")
        return None


def _state(status: os.stat_result | None) -> _State | None:
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)
