"""By which manifest what lies in a store was declared, and so what is no longer declared.

A store may be several manifests'. What another one declares is not this one's to judge.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.host import observed
from bangerbuild.model import StepId
from bangerbuild.model.artifacts import PLAIN_TABLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.store import Store


def from_store(store: Path, manifest: Path) -> str:
    """A manifest's path as a store remembers it: a project may be moved with its store."""
    return os.path.relpath(manifest.absolute(), store.absolute())


def of(owners: Collection[str], declared_in: Mapping[str, Path], opened: Store) -> dict[str, str]:
    """By which manifest each VM and network is declared that is made, or that something was made of."""
    known = {StepId(step_id).owner for step_id in opened.records} | set(owners)
    return {
        owner: from_store(opened.path, declared_in[owner]) for owner in sorted(known & declared_in.keys())
    }


def strangers(manifests: Sequence[Path], declared: Collection[str], opened: Store) -> dict[str, str | None]:
    """The VMs and networks in a store that are not declared, each with the manifest that declares it.

    None: it left the manifests that are loaded, or nothing is known of where it came from.

    Args:
        manifests: those that are loaded.
        declared: the ids of all steps that they declare.
        opened: the store.
    """
    owners = {StepId(step_id).owner for step_id in declared}
    there = {StepId(record.step_id).owner for record in opened.records.values()} - owners
    return {
        owner: None if _is_one_of(manifests, opened, origin := opened.origins.get(owner)) else origin
        for owner in sorted(there)
        if owner.table in PLAIN_TABLES
    }


def _is_one_of(manifests: Sequence[Path], opened: Store, origin: str | None) -> bool:
    if origin is None:
        return False
    place = opened.path / origin
    return any(from_store(opened.path, path) == origin or _is_same(place, path) for path in manifests)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths, one of which may lead over a symlink, are of the same file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def orphans(manifests: Sequence[Path], declared: Collection[str], opened: Store) -> dict[str, str]:
    """What a manifest declared that is none of these, and that is renamed or gone: each with its manifest."""
    found = strangers(manifests, declared, opened)
    return {owner: origin for owner, origin in found.items() if origin and is_gone(opened, origin)}


def is_gone(opened: Store, origin: str) -> bool:
    """Whether a manifest that a store remembers is no longer there, and so declares nothing."""
    observed.look(opened.path / origin)
    try:
        os.lstat(opened.path / origin)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it can't be told
        return False
    return False


def undeclared(manifests: Sequence[Path], declared: Collection[str], opened: Store) -> tuple[str, ...]:
    """What these manifests declared last, and no longer do: VMs and networks, and disks of other VMs."""
    found = strangers(manifests, declared, opened)
    left = (owner for owner, origin in found.items() if origin is None and owner in opened.origins)
    return (*left, *_parts(declared, opened))


def _parts(declared: Collection[str], opened: Store) -> Iterator[str]:
    """What was made for VMs and networks that are declared, and is no step of theirs any more."""
    owners = {StepId(step_id).owner for step_id in declared}
    recorded = {StepId(record.step_id) for record in opened.records.values()} - set(declared)
    gone = {one for one in recorded if one.owner in owners and one.owner.table in PLAIN_TABLES}
    for step_id in sorted(gone):
        if not any(shorter in declared or shorter in gone for shorter in step_id.prefixes[:-1]):
            yield step_id  # else it is the patch of one that is named, or stays
