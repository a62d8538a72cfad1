"""`vm.X.root`: a dm-snapshot exception store over the VM's image, empty until its patch comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from bangerbuild.model import Reason, ReasonCode, Verb, Verdict
from bangerbuild.steps import disks, roots
from bangerbuild.steps.roots import FORMAT_KEY, IN_PLACE
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Source, View, Workspace


@dataclass(frozen=True)
class RootOverlay(Unopened):
    """One VM's root. Once a guest has written to it, it is the guest's, and only `--replace` discards it."""

    kind: ClassVar[str] = "root-overlay"
    format: ClassVar[int] = 2
    exclusive: ClassVar[bool] = True
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ()

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    """Its content counts, as an input."""
    capacity_bytes: int | None = field(metadata={"key": "root.size"})
    on_new_base: Literal["block", "keep"] = field(metadata={"recipe": False})
    disk_format: Literal["snapshot"] = field(default="snapshot", metadata={"key": FORMAT_KEY})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM whose root is a snapshot."""
        for vm in manifest.vms.values():
            if vm.root.format == "snapshot":
                yield cls(vm.name, vm.image, vm.root.size_bytes, vm.root.on_new_base)

    @property
    def id(self) -> str:
        """See Step."""
        return f"vm.{self.name}.root"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step."""
        return (f"image.{self.image}.rootfs",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """See Step."""
        return (f"vms/{self.name}/root.cow",)

    def judge(self, situation: Situation) -> Verdict:
        """See `roots.judge`; a store of which nothing is known stands on nobody knows what."""
        if situation.missing:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.record is None:
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))
        verdict = roots.judge(situation, self.inputs[0], self.on_new_base, self.capacity_bytes)
        return disks.judge_found(situation, verdict)

    def inspect(self, view: View) -> tuple[Reason, ...]:
        """See Step."""
        if view.facts(self.id).get("format") != "snapshot":  # none is known, or what is there is a raw one
            return ()
        return disks.inspect_store(view, self.outputs[0], self.id, self.inputs[0])

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        if workspace.verb in IN_PLACE:
            return roots.change(workspace, self.id, self.capacity_bytes)
        base = workspace.artifact(self.inputs[0])
        facts = {"format": "snapshot", "base": base, "declared_bytes": self.capacity_bytes}
        return roots.make(workspace, self.outputs[0], facts)
