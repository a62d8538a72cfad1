"""VMs that were called something else before: their disks and records go with the new name.

A VM moves if the store has the old one and not the new one. While somebody has one of its disks open,
nothing of it is moved or changed. Where both are there, nothing is done about the new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk.formats import is_disk
from bangerbuild.model import Reason, ReasonCode, Verb
from bangerbuild.store import moving

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bangerbuild.model import Action, Host
    from bangerbuild.store import Store


@dataclass
class Renames:
    """What becomes of the VMs that say what they were called before."""

    moves: dict[str, str] = field(default_factory=dict)
    """The old names by the new ones."""
    holders: dict[str, str] = field(default_factory=dict)
    """By the new name, who has a disk of the VM open."""
    conflicts: dict[str, Reason] = field(default_factory=dict)
    """By the new name, why nothing can be done."""

    @property
    def concern_any(self) -> bool:
        """Whether any VM is to be called something else."""
        return bool(self.moves or self.conflicts)

    @property
    def possible(self) -> dict[str, str]:
        """The moves that nobody is in the way of."""
        return {new: old for new, old in self.moves.items() if new not in self.holders}

    def applied(self, action: Action) -> Action:
        """An action that was decided as if the VM had been moved already, with what the move makes of it."""
        vm = moving.vm_of(action.id)
        if vm is None or vm not in self.moves:
            return action
        if action.step.outputs and action.verb is not Verb.BLOCKED:
            verb = Verb.MOVE if action.verb is Verb.KEEP else action.verb
            renamed = Reason(ReasonCode.RENAMED, {"old": self.moves[vm]})
            action = replace(action, verb=verb, reasons=(renamed, *action.reasons))
        if action.verb in {Verb.KEEP, Verb.BLOCKED} or action.in_use or vm not in self.holders:
            return action
        held = Reason(ReasonCode.IN_USE, {"holder": self.holders[vm]})
        return replace(action, reasons=(*action.reasons, held))


def find(wanted: Mapping[str, Sequence[str]], opened: Store, host: Host) -> Renames:
    """What becomes of these VMs, each with the names that it had before, in a store as it is."""
    found, there = Renames(), opened.vms if wanted else frozenset()
    for new, names in wanted.items():
        old = [name for name in names if name in there]
        if not old:
            continue
        if new in there or opened.lies_there(new):
            found.conflicts[new] = _both(new, old[0])
        elif len(old) > 1:
            found.conflicts[new] = _both(old[1], old[0])
        else:
            found.moves[new] = old[0]
            if holder := _holder(old[0], opened, host):
                found.holders[new] = holder
    return found


def _both(kept: str, old: str) -> Reason:
    hint = f"`bangerbuild destroy --target vm.{old}` removes one; or leave it out of renamed_from"
    return Reason(ReasonCode.RENAMED, {"old": old, "there": kept, "hint": hint})


def _holder(vm: str, opened: Store, host: Host) -> str | None:
    """Who has a disk of a VM open."""
    disks = (path for one in moving.of_vm(opened.records, vm).values() for path in one.artifacts)
    return _first(host, (opened.place(disk) for disk in dict.fromkeys(disks) if is_disk(disk)))


def _first(host: Host, paths: Iterable[str]) -> str | None:
    return next((holder for path in paths if (holder := host.holder(Path(path)))), None)
