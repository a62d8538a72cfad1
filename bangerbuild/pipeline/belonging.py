"""What lies in a store beside what is declared: undeclared and renamed VMs, disks that stay behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild import shares
from bangerbuild.model import Relocation, StepId
from bangerbuild.planning import origins

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bangerbuild.model import Step
    from bangerbuild.pipeline.loading import Loaded
    from bangerbuild.store import Store


def strangers(loaded: Loaded, opened: Store) -> dict[str, str | None]:
    """See `origins.strangers`."""
    return origins.strangers(loaded.request.manifests, loaded.whole, opened)


def undeclared(loaded: Loaded, opened: Store) -> tuple[str, ...]:
    """See `origins.undeclared`; who asks for a part is told of that part."""
    if loaded.request.targets:
        return ()
    found = origins.undeclared(loaded.request.manifests, loaded.whole, opened)
    taken_over = to_be_renamed(loaded, opened)
    return tuple(owner for owner in found if owner not in taken_over)


def orphans(loaded: Loaded, opened: Store) -> dict[str, str]:
    """What a manifest declared that is not there any more, with the path of that one from here."""
    if loaded.request.targets:
        return {}
    taken_over = to_be_renamed(loaded, opened)
    found = origins.orphans(loaded.request.manifests, loaded.whole, opened)
    return {
        owner: os.path.relpath(opened.path / origin)
        for owner, origin in found.items()
        if owner not in taken_over
    }


def to_be_renamed(loaded: Loaded, opened: Store) -> frozenset[str]:
    """The VMs that a declared one, which is not there yet, takes over."""
    there = opened.vms
    vms = (vm for vm in loaded.manifest.vms.values() if vm.name not in there)
    return frozenset(vm_id(old) for vm in vms for old in vm.renamed_from)


def relocations(loaded: Loaded, opened: Store, nodes: Mapping[str, str]) -> Iterator[Relocation]:
    """The VMs whose disks stay behind: those that move now, and those whose disks are in this store."""
    found = loaded.manifest
    there_too = {name: new for name, new in shares.elsewhere(found).items() if name in opened.vms}
    disks_of = _disks_of(loaded, {vm_id(name) for name in (*found.moved, *there_too)})
    for name, old in sorted(found.moved.items()):
        disks = (path for step in disks_of[vm_id(name)] for path in step.outputs)
        if old != found.node:
            yield Relocation(name, old, nodes[name], tuple(disks), is_here=False)
    for name, new in sorted(there_too.items()):
        records = (opened.records.get(step.id) for step in disks_of[vm_id(name)])
        there = tuple(path for record in records if record for path in record.artifacts)
        if any(map(opened.may_exist, there)):
            yield Relocation(name, str(found.node), new, there, is_here=True)


def _disks_of(loaded: Loaded, owners: Collection[StepId]) -> dict[StepId, list[Step]]:
    """The steps that make the disks of some VMs, found in one pass."""
    found: dict[StepId, list[Step]] = {owner: [] for owner in owners}
    for step_id, step in loaded.whole.items() if found else ():
        owner = StepId(step_id).owner
        if owner in found and step.exclusive and not step.changes:
            found[owner].append(step)
    return found


def vm_id(name: str) -> StepId:
    """`vm.NAME`."""
    return StepId(f"vm.{name}")
