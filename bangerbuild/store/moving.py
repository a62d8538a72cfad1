"""VMs that have other names now: their records, and where their disks lie, under the new ones. Pure.

The names are a table: the name of each VM, and the one that it gets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model import Record

T = TypeVar("T")


def directory(vm: str) -> str:
    """Where a VM's artifacts lie, relative to the store."""
    return f"vms/{vm}"


def vm_of(step_id: str) -> str | None:
    """The name of the VM that a step is of; None: it is of none."""
    table, _, rest = step_id.partition(".")
    return rest.partition(".")[0] if table == "vm" else None


def step_id(text: str, names: Mapping[str, str]) -> str:
    """The id of a step of a VM under its new name; any other id as it is."""
    table, _, rest = text.partition(".")
    name, _, part = rest.partition(".")
    return f"vm.{names[name]}.{part}" if table == "vm" and name in names else text


def artifact(path: str, names: Mapping[str, str]) -> str:
    """The path of an artifact of a VM under its new name; any other path as it is."""
    top, _, rest = path.partition("/")
    name, _, file = rest.partition("/")
    return f"{directory(names[name])}/{file}" if top == "vms" and name in names else path


def record(one: Record, names: Mapping[str, str]) -> Record:
    """A record of a VM under its new name. It keeps its fingerprint: nothing is made anew."""
    inputs = {step_id(key, names): value for key, value in one.recipe.inputs.items()}
    return replace(
        one,
        id=step_id(one.id, names),
        recipe=replace(one.recipe, inputs=inputs),
        artifacts=tuple(artifact(path, names) for path in one.artifacts),
    )


def records(known: Mapping[str, Record], names: Mapping[str, str]) -> dict[str, Record]:
    """All records, those of these VMs under their new names."""
    return {
        step_id(key, names): record(one, names) if vm_of(key) in names else one for key, one in known.items()
    }


def paths(known: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    """What is known of artifacts, those of these VMs under their new names."""
    return {artifact(path, names): value for path, value in known.items()}


def of_vm(known: Mapping[str, Record], name: str) -> dict[str, Record]:
    """The records of one VM."""
    return {key: one for key, one in known.items() if vm_of(key) == name}
