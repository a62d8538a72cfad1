"""`vm.X.root` as a disk of its own: a clone of the VM's image, grown to its size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from bangerbuild.model import Reason, ReasonCode, Verb, Verdict
from bangerbuild.steps import disks, in_place, roots
from bangerbuild.steps.roots import FORMAT_KEY, IN_PLACE
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Source, View, Workspace


@dataclass(frozen=True)
class RootRaw(Unopened):
    """One VM's root. Once a guest has written to it, it is the guest's, and only `--replace` discards it."""

    kind: ClassVar[str] = "root-raw"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = disks.TOOLS

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    """Its content counts, as an input."""
    size_bytes: int | None = field(metadata={"key": "root.size"})
    on_new_base: Literal["block", "keep"] = field(metadata={"recipe": False})
    disk_format: Literal["raw"] = field(default="raw", metadata={"key": FORMAT_KEY})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM whose root is raw."""
        for vm in manifest.vms.values():
            if vm.root.format == "raw":
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
        return (f"vms/{self.name}/root.ext4",)

    def judge(self, situation: Situation) -> Verdict:
        """See `roots.judge`; one of which nothing is known may be a guest's and is taken over as it is."""
        if situation.missing:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.record is None:
            return disks.judge_unknown(situation, self.size_bytes)
        verdict = roots.judge(situation, self.inputs[0], self.on_new_base, self.size_bytes)
        return disks.judge_found(situation, verdict)

    def inspect(self, view: View) -> tuple[Reason, ...]:
        """See Step."""
        if view.facts(self.id).get("format", "raw") != "raw":  # what is there is a snapshot
            return ()
        return disks.inspect(view, self.outputs[0])

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        if workspace.verb in IN_PLACE:
            return roots.change(workspace, self.id, self.size_bytes)
        base = workspace.artifact(self.inputs[0])
        if workspace.verb is Verb.ADOPT:
            in_place.change(workspace, self.id, self.size_bytes)
            size_bytes = workspace.path(self.outputs[0]).stat().st_size
            return {
                "format": "raw",
                "base": base,
                "declared_bytes": self.size_bytes,
                "file_bytes": size_bytes,
            }
        facts = {"format": "raw", "base": base, "declared_bytes": self.size_bytes}
        return roots.make(workspace, self.outputs[0], facts)
