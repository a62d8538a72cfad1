"""What stands where a patch is to write: what we put there ourselves makes room, all else is an obstacle.

A file or symlink where a directory comes, and a directory where a file or symlink comes, are ours if the
ledger has them, or all that is in them, as they are now. A plan and a run ask the same questions here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bangerbuild.disk import ledger_lines
from bangerbuild.errors import BangerError, GuestPathError
from bangerbuild.model import Reason, ReasonCode, would_fail
from bangerbuild.steps import ledger
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bangerbuild.disk.opened import OpenedDisk

WAY_OUT = "move it away in the guest, or change the manifest"
_PARENT = ledger_lines.new_directory(0o755, 0, 0)
"""What a directory is made as that leads to what is declared."""


@dataclass
class Room:
    """What has to go before a patch can write, and what can't go."""

    removed: list[str] = field(default_factory=list)
    """Guest paths of what is ours, none below another."""
    reasons: list[Reason] = field(default_factory=list)

    def check(self) -> None:
        """Refuse to write where something is in the way.

        Raises:
            GuestPathError: in the words that a plan has for it.
        """
        for reason in self.reasons:
            raise GuestPathError(words(reason.facts), hint=str(reason.facts.get("hint") or "") or None)


def words(facts: Mapping[str, Any]) -> str:
    """A reason of this module as text."""
    if "guest" in facts:
        return f"'{facts['guest']}' can't be written: a {facts['there']} is there in the guest"
    return str(facts["message"])


def room(
    disk: OpenedDisk,
    mount_point: str,
    wanted: Mapping[str, bool],
    before: Mapping[str, str],
    base: OpenedDisk | None,
) -> Room:
    """Look at all places that a patch is to write at.

    Args:
        disk: as it will be when the patch begins.
        mount_point: where the guest mounts it.
        wanted: guest paths, and whether each is to be a directory.
        before: what the last patch wrote there, see `ledger`.
        base: the image that the disk stands on; None: there is none.
    """
    return _Survey(disk, wanted, before, base).look(f"{mount_point.rstrip('/')}/")


def without(lines: Mapping[str, str], removed: Collection[str]) -> dict[str, str]:
    """The lines of a ledger but for what was removed, and what lay below it."""
    return {path: line for path, line in lines.items() if not _is_covered(path, removed)}


def _is_covered(path: str, by: Collection[str]) -> bool:
    return bool(by) and any(one in by for one in (path, *_parents(path)))


def _parents(path: str) -> Iterator[str]:
    """Every directory above a path, but for the root."""
    while (path := path.rpartition("/")[0]) not in {"", "/"}:
        yield path


class _Survey:
    def __init__(
        self,
        disk: OpenedDisk,
        wanted: Mapping[str, bool],
        before: Mapping[str, str],
        base: OpenedDisk | None,
    ) -> None:
        self._disk = disk
        self._wanted = wanted
        self._before = before
        self._base = base
        self._settled: set[str] = set()
        """Paths that go or are in the way: what lies below them needs no look."""
        self._found = Room()

    @cached_property
    def _above(self) -> set[str]:
        """The directories above what was written."""
        return {parent for path in self._before for parent in _parents(path)}

    def look(self, top: str) -> Room:
        above = {parent for path in self._wanted for parent in _parents(path)} - self._wanted.keys()
        parents = {path for path in above if path.startswith(top)}
        for path in sorted(self._wanted.keys() | parents):
            if _is_covered(path, self._settled):
                continue
            try:
                self._look_at(path, is_parent=path in parents)
            except BangerError as err:
                if path in parents:  # what lies below it says so
                    continue
                self._settled.add(path)
                self._found.reasons.append(would_fail(err))
        return self._found

    def _look_at(self, path: str, *, is_parent: bool) -> None:
        found = self._disk.stat(path, follow=False)
        if found is None:
            return
        is_directory = is_parent or self._wanted[path]
        if is_directory == (found.type is EntryType.DIRECTORY):
            return
        is_ours = self._is_ours_directory(path) if not is_directory else self._is_ours_file(path)
        if is_ours:
            self._settled.add(path)
            self._found.removed.append(path)
        elif not is_directory or not self._leads_to_directory(path, is_parent=is_parent, kind=found.type):
            self._settled.add(path)
            facts = {"guest": path, "there": found.type.value, "hint": WAY_OUT}
            self._found.reasons.append(Reason(ReasonCode.PATH_IN_THE_WAY, facts))

    def _leads_to_directory(self, path: str, *, is_parent: bool, kind: EntryType) -> bool:
        """Whether a symlink is followed there, as the guest would."""
        if kind is not EntryType.SYMLINK:
            return False
        there = self._disk.stat(path)
        return is_parent if there is None else there.type is EntryType.DIRECTORY

    def _is_ours_file(self, path: str) -> bool:
        line = self._before.get(path)
        return (
            line is not None
            and not ledger_lines.is_directory(line)
            and ledger_lines.is_there(self._disk, path, line)
        )

    def _is_ours_directory(self, path: str) -> bool:
        """Whether we made a directory, and nothing is in it but what we put there, as we left it."""
        line = self._before.get(path)
        if line is None and (path not in self._above or self._is_of_base(path)):
            return False
        if not ledger.is_as_made(self._disk, path, _PARENT if line is None else line):
            return False
        children = (f"{path}/{name}" for name in self._disk.listdir(path) or ())
        return all(map(self._is_ours, children))

    def _is_ours(self, path: str) -> bool:
        found = self._disk.stat(path, follow=False)
        if found is not None and found.type is EntryType.DIRECTORY:
            return self._is_ours_directory(path)
        return self._is_ours_file(path)

    def _is_of_base(self, path: str) -> bool:
        return self._base is not None and self._base.stat(path, follow=False) is not None


class Without:
    """A disk as it will be once some paths are removed; only to be read."""

    def __init__(self, disk: OpenedDisk, removed: Collection[str]) -> None:
        self._disk = disk
        self._removed = frozenset(removed)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the methods of any disk
        found = getattr(self._disk, name)
        return self._guarded(found) if name in _READING else found

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(path: str, /, **how: Any) -> Any:  # noqa: ANN401
            if _is_covered(path, self._removed):
                return False if method.__name__ == "exists" else None
            return method(path, **how)

        return guarded


_READING = frozenset({"stat", "exists", "read", "read_chunks", "listdir", "stats", "get_xattrs"})
