"""`vm.X.root`: a dm-snapshot exception store over the VM's image, empty until its patch comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.model import Reason, ReasonCode, Verb, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.model import FileDiff, Json, Situation, Source, View, Workspace
    from bangerbuild.spec import Manifest


@dataclass(frozen=True)
class RootOverlay:
    """One VM's root. Once a guest has written to it, it is the guest's, and only `--replace` discards it."""

    kind: ClassVar[str] = "root-overlay"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ()

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    """Its content counts, as an input."""
    capacity_bytes: int | None = field(metadata={"key": "root.size"})
    on_new_base: Literal["block", "keep"] = field(metadata={"recipe": False})

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
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
        """Made anew as long as it is ours; a guest's is kept or blocked."""
        if situation.missing:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.record is None:
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))
        if not situation.changes:
            return Verdict(Verb.KEEP)
        behind = all(reason.code is ReasonCode.INPUT_CHANGED for reason in situation.changes)
        if behind and self.on_new_base == "keep":
            return Verdict(Verb.KEEP, (Reason(ReasonCode.BASE_BEHIND, {"id": self.inputs[0]}),))
        if situation.modified():
            return Verdict(Verb.BLOCKED, (*situation.changes, Reason(ReasonCode.GUEST_WROTE)))
        return Verdict(Verb.REPLACE, situation.changes)

    def preview(self, view: View) -> tuple[FileDiff, ...]:  # noqa: ARG002  # an overlay is never updated
        """See Step."""
        return ()

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        base = workspace.artifact(self.inputs[0])
        target = workspace.create(self.outputs[0])
        with RawFile(workspace.path(base)) as blocks:
            SnapshotStore.create(blocks, target, capacity_bytes=self.capacity_bytes, durable=False).close()
        return {"base": base, "capacity_bytes": self.capacity_bytes}
