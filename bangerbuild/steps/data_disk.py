"""`vm.X.disk.NAME`: a further data disk, made empty."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.disk import tools
from bangerbuild.model import Verb
from bangerbuild.steps import disks, in_place
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Reason, Situation, Source, Verdict, View, Workspace


@dataclass(frozen=True)
class DataDisk(Unopened):
    """One data disk. It is the guest's from the moment it is published: only ever patched or grown."""

    kind: ClassVar[str] = "data-disk"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    changes: ClassVar[None] = None
    inputs: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = disks.TOOLS

    vm: str = field(metadata={"recipe": False})
    name: str
    """Also its label; two disks of a VM are two filesystems, with a UUID each."""
    size_bytes: int = field(metadata={"key": "size"})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each data disk of each VM."""
        for vm in manifest.vms.values():
            for disk in vm.disks:
                yield cls(vm.name, disk.name, disk.size_bytes)

    @property
    def id(self) -> str:
        """See Step."""
        return f"vm.{self.vm}.disk.{self.name}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See Step."""
        return (f"vms/{self.vm}/{self.name}.ext4",)

    @property
    def likeness(self) -> object:
        """See Step."""
        return replace(self, vm="")

    def judge(self, situation: Situation) -> Verdict:
        """See `disks.judge`."""
        return disks.judge(situation, self.size_bytes)

    def inspect(self, view: View) -> tuple[Reason, ...]:
        """See Step."""
        return disks.inspect(view, self.outputs[0])

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        artifact = self.outputs[0]
        if workspace.verb is Verb.CREATE or workspace.verb is Verb.REPLACE:
            geometry = tools.Geometry(self.size_bytes, label=self.name)
            disks.make_empty(workspace.create(artifact, guests=True), geometry, workspace)
        else:
            in_place.change(workspace, self.id, self.size_bytes, label=self.name)
        return disks.facts(workspace.path(artifact))
