"""A base for work and data disks: raw disks that belong to the guest from the moment they are published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.disk import formats, making
from bangerbuild.disk.formats.values import StoredDisk
from bangerbuild.model import Verb
from bangerbuild.model.recovered import Recovered, Unrecovered
from bangerbuild.steps import disk_verdicts, disks
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.model import Json, Reason, Situation, Source, Verdict, View, Workspace


def recovered(path: Path, artifact: str) -> Recovered:
    """What is told of such a disk from its file."""
    facts: dict[str, Json] = {"format": formats.RAW.name, "file_bytes": path.stat().st_size}
    return Recovered((artifact,), facts, guests=True)


class PlainDisk(Unopened, ABC):
    """A step that makes such a disk, which later is only ever patched or grown. A subclass fills it."""

    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = True
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = making.TOOLS

    size_bytes: int | None
    """As declared; None: any."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The filesystem's, as the guest's fstab names it."""

    @abstractmethod
    def make(self, target: Path, workspace: Workspace) -> None:
        """Make the disk, at a path at which nothing is yet."""

    @override
    def judge(self, situation: Situation) -> Verdict:
        """See `disk_verdicts.judge`: what the disk was first filled with no longer counts."""
        return disk_verdicts.judge(situation, self.size_bytes)

    @override
    def inspect(self, view: View) -> tuple[Reason, ...]:
        return disks.inspect(view, formats.RAW, self._disk(view))

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | Unrecovered | None:
        """A guest's, as it is."""
        (artifact,) = self.outputs
        if not view.path(artifact).is_file():
            return None
        if found := self.inspect(view):
            return Unrecovered(artifact, str(found[0].facts.get("error")))
        return recovered(view.path(artifact), artifact)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        (artifact,) = self.outputs
        if workspace.verb is Verb.CREATE or workspace.verb is Verb.REPLACE:
            self.make(workspace.create(artifact, guests=True), workspace)
        else:
            formats.RAW.grow(self._disk(workspace), self.size_bytes, workspace, label=self.label)
        return {"format": formats.RAW.name, "file_bytes": workspace.path(artifact).stat().st_size}

    def _disk(self, view: View) -> StoredDisk:
        (artifact,) = self.outputs
        return StoredDisk(view.path(artifact), artifact)
