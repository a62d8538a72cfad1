"""`vm.X.disk.NAME`: a further data disk, made empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import making, tools
from bangerbuild.disk.formats import RAW
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.recovered import Stray
from bangerbuild.steps.plain_disk import PlainDisk, recovered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Workspace


@dataclass(frozen=True)
class DataDisk(PlainDisk):
    """One data disk."""

    kind: ClassVar[str] = "data-disk"
    inputs: ClassVar[tuple[str, ...]] = ()

    vm: str = field(metadata={"recipe": False, "owner": True})
    name: str
    """Also its label; two disks of a VM are two filesystems, with a UUID each."""
    size_bytes: int = field(metadata={"key": "size"})

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each data disk of each VM."""
        for vm in manifest.vms.values():
            for disk in vm.disks:
                yield cls(vm.name, disk.name, disk.size_bytes)

    @classmethod
    @override
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | None:
        """Any disk that is neither a root nor a work disk."""
        if path.suffix != RAW.suffix or path.stem in {"root", "work"}:
            return None
        return Stray(StepId.vm(name, f"disk.{path.stem}"), cls.kind, recovered(path, artifact))

    @property
    @override
    def id(self) -> str:
        return StepId.vm(self.vm, f"disk.{self.name}")

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.vm(self.vm, f"{self.name}{RAW.suffix}"),)

    @property
    @override
    def label(self) -> str:
        return self.name

    @override
    def make(self, target: Path, workspace: Workspace) -> None:
        making.make_empty(target, tools.Geometry(self.size_bytes, label=self.name), workspace)
