"""`vm.X.root`: a VM's root, made from its image; what kind of disk it is, its format says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from typing_extensions import override

from bangerbuild.disk import ancestry, formats
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BangerError
from bangerbuild.model import TO_MAKE, ArtifactPath, Reason, ReasonCode, StepId, Verb, Verdict
from bangerbuild.model.artifacts import IMAGE_DIRECTORIES
from bangerbuild.model.fingerprint import IMAGE_KEY
from bangerbuild.model.recipe import remembered
from bangerbuild.model.recovered import Recovered, Stray, Unrecovered
from bangerbuild.steps import disk_verdicts, disks
from bangerbuild.steps.step_kind import Identified
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.disk.formats.format import DiskFormat
    from bangerbuild.model import Json, Record, Situation, Source, View, Workspace

FORMAT_KEY = "root.format"
"""Where the manifest says which format a root has; a change of it is a change of the recipe."""
IMAGES = f"{IMAGE_DIRECTORIES}/rootfs{formats.RAW.suffix}"
"""A pattern of all root images in a store."""
IN_PLACE = {Verb.GROW, Verb.UPDATE}
"""What is done to a root that stays where it is."""


@dataclass(frozen=True)
class RootDisk(Identified, Unopened):
    """One VM's root. Once a guest has written to it, it is the guest's, and only `--replace` discards it."""

    exclusive: ClassVar[bool] = True
    has_format: ClassVar[bool] = True
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    """Its content counts, as an input."""
    size_bytes: int | None = field(metadata={"key": "root.size"})
    on_new_base: Literal["block", "keep"] = field(metadata={"recipe": False})
    disk_format: str = field(metadata={"key": FORMAT_KEY})

    def __post_init__(self) -> None:
        self._keep(_id=StepId.vm(self.name, "root"))

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
            yield cls(vm.name, vm.image, vm.root.size_bytes, vm.root.on_new_base, vm.root.format)

    @classmethod
    @override
    def kinds(cls) -> tuple[str, ...]:
        """Each format's roots are of a kind of their own."""
        return tuple(one.kind for one in formats.FORMATS.values())

    @property
    def _format(self) -> DiskFormat:
        return formats.named(self.disk_format)

    @property
    @override
    def kind(self) -> str:  # type: ignore[override]  # it is not the class's
        return self._format.kind

    @property
    @override
    def format(self) -> int:
        return self._format.version

    @property
    @override
    def tools(self) -> tuple[str, ...]:
        return self._format.tools

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return (StepId.image(self.image, "rootfs"),)

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.vm(self.name, f"root{self._format.suffix}"),)

    @override
    def judge(self, situation: Situation) -> Verdict:
        """Made anew while it is ours; a guest's is kept, grown or blocked, an unknown one taken over."""
        if situation.missing:
            return TO_MAKE
        if situation.record is not None:
            verdict = self._judge_recorded(situation, situation.record)
            return disk_verdicts.judge_found(situation, verdict, is_unreadable=self._format.stands_on_base)
        if self._format.stands_on_base:  # nobody knows on which
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))
        return disk_verdicts.judge_unknown(situation, self.size_bytes)

    def _judge_recorded(self, situation: Situation, record: Record) -> Verdict:
        changes = situation.changes
        if any(reason.facts.get("key") == FORMAT_KEY for reason in changes):
            return _judge_other(situation)
        verdict = disk_verdicts.judge_size(disk_verdicts.file_bytes(situation, record), self.size_bytes)
        if verdict.verb is Verb.KEEP and self.size_bytes is not None:  # it may have grown in a killed run
            verdict = disk_verdicts.judge_grown(record, self.size_bytes)
        if any(_is_of_base(reason) for reason in changes):
            return self._judge_base(situation, verdict)
        if verdict.verb is Verb.BLOCKED and not situation.modified():
            return Verdict(Verb.REPLACE, verdict.reasons)
        return verdict

    def _judge_base(self, situation: Situation, resized: Verdict) -> Verdict:
        verdict = _judge_other(situation)
        if verdict.verb is Verb.BLOCKED and self.on_new_base == "keep":
            behind = Reason(ReasonCode.BASE_BEHIND, {"id": _image_of(situation) or self.inputs[0]})
            return replace(resized, reasons=(*resized.reasons, behind))
        return verdict

    @override
    def inspect(self, view: View) -> tuple[Reason, ...]:
        """What is there may be of another format than declared: then it is not this one's."""
        recorded = view.facts(self.id)
        if recorded.get("format", self.disk_format) != self.disk_format:
            return ()
        if not self._format.stands_on_base:
            return disks.inspect(view, self._format, self._disk(view))
        if not recorded:  # it is not known on which
            return ()
        base = disks.base_of(view, self.id)
        if not base.path.is_file():
            is_made_again = view.artifact(self.inputs[0]) == base.name
            return () if is_made_again else (Reason(ReasonCode.BASE_UNKNOWN, {"missing": base.name}),)
        return disks.inspect(view, self._format, replace(self._disk(view), base=base))

    @override
    def disk_bytes(self, view: View, artifact: str) -> int | None:
        path = view.path(artifact)
        size_bytes = disks.format_of(view.facts(self.id), artifact).size_of(path)
        return None if size_bytes == path.stat().st_size else size_bytes

    def _disk(self, view: View) -> StoredDisk:
        (artifact,) = self.outputs
        return StoredDisk(view.path(artifact), artifact)

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | Unrecovered | None:
        """A guest's, on the image that its header names; one without a header on the image of today."""
        for one in sorted(formats.FORMATS.values(), key=lambda one: one is not self._format):
            artifact = ArtifactPath.vm(self.name, f"root{one.suffix}")
            if view.path(artifact).is_file():
                return self._recovered(view, one, artifact)
        return None

    def _recovered(self, view: View, disk_format: DiskFormat, artifact: str) -> Recovered | Unrecovered:
        path = view.path(artifact)
        (image_id,) = self.inputs
        if not disk_format.stands_on_base:
            found = disks.inspect(view, disk_format, StoredDisk(path, artifact))
            if found:
                return Unrecovered(artifact, str(found[0].facts.get("error")))
        base = _base_named(disk_format, path, artifact, StepId(image_id).name)
        if isinstance(base, Unrecovered):
            return base
        facts = _facts_of(disk_format, path, base)
        declared = self.size_bytes if facts["file_bytes"] == self.size_bytes else None
        is_todays = base == view.artifact(image_id)
        return Recovered(
            (artifact,),
            {**facts, "declared_bytes": declared},
            guests=True,
            kind=disk_format.kind,
            fields={FORMAT_KEY: disk_format.name},
            inputs=None if is_todays else _inputs_of(base),
        )

    @classmethod
    @override
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | Unrecovered | None:
        """A root that does not say what it stands on is left alone."""
        one = next((one for one in formats.FORMATS.values() if path.name == f"root{one.suffix}"), None)
        if one is None:
            return None
        fields: dict[str, Json] = {FORMAT_KEY: one.name}
        base = _base_named(one, path, artifact)
        if isinstance(base, Unrecovered) and not one.stands_on_base:
            facts: dict[str, Json] = {"format": one.name, "file_bytes": path.stat().st_size}
            recovered = Recovered((artifact,), facts, guests=True, fields=fields, inputs={})
            return Stray(StepId.vm(name, "root"), one.kind, recovered)
        if isinstance(base, Unrecovered):
            return base
        facts = {**_facts_of(one, path, base), "declared_bytes": None}
        recovered = Recovered((artifact,), facts, guests=True, fields=fields, inputs=_inputs_of(base))
        return Stray(StepId.vm(name, "root"), one.kind, recovered)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        if workspace.verb in IN_PLACE:
            return self._grown(workspace, *disks.stored(workspace, self.id), workspace.facts(self.id))
        facts = {"format": self.disk_format, "base": workspace.artifact(self.inputs[0])}
        if workspace.verb is Verb.ADOPT:
            return self._grown(workspace, self._format, self._disk(workspace), facts)
        return make(workspace, self.outputs[0], {**facts, "declared_bytes": self.size_bytes})

    def _grown(
        self, workspace: Workspace, disk_format: DiskFormat, disk: StoredDisk, facts: Mapping[str, Json]
    ) -> dict[str, Json]:
        """Mend a root where it lies and grow it to its size; its new facts."""
        disk_format.grow(disk, self.size_bytes, workspace)
        file_bytes = disk_format.size_of(workspace.path(disk.name))
        return {**facts, "declared_bytes": self.size_bytes, "file_bytes": file_bytes}


def _base_named(disk_format: DiskFormat, path: Path, artifact: str, image: str = "") -> str | Unrecovered:
    """The image that a root stands on, or is a copy of: of two with the same bytes the one of this name."""
    if not disk_format.stands_on_base:
        return _copied(path, artifact, image)
    named = disk_format.base_of(path)
    if named is None:
        return Unrecovered(artifact, "its header does not say which image it stands on")
    try:
        base = ArtifactPath.checked(named)
    except ValueError as err:
        return Unrecovered(artifact, f"its header names no image: {err}")
    if base.image_directory is None:
        return Unrecovered(artifact, f"its header names no image, but '{base}'")
    return base


def _copied(path: Path, artifact: str, name: str) -> str | Unrecovered:
    top = path.parents[artifact.count("/")]
    there = [one for one in sorted(top.glob(IMAGES)) if one.is_file() and not one.is_symlink()]
    there.sort(key=lambda one: one.parents[1].name == name)
    images = list({one.parent.name: one for one in there}.values())  # by fingerprint, the last one counts
    try:
        found = ancestry.copied_from(path, images)
    except OSError as err:
        return Unrecovered(artifact, f"it can't be read: {(err.strerror or str(err)).lower()}")
    if found is None:
        why = "no image in the store is known to be the one it was made from: `apply` takes it over as it is"
        return Unrecovered(artifact, why)
    return ArtifactPath(found.relative_to(top))


def _inputs_of(base: str) -> dict[str, str]:
    """The image as the input that it was: its id, and the fingerprint in its path."""
    path = ArtifactPath(base)
    return {StepId.image(path.owner.name, "rootfs"): path.directory.rpartition("/")[2]}


def _facts_of(disk_format: DiskFormat, path: Path, base: str) -> dict[str, Json]:
    """What a root's record says of its file."""
    try:
        file_bytes = disk_format.size_of(path)
    except BangerError:  # it is damaged: the plan says so
        file_bytes = path.stat().st_size
    return {"format": disk_format.name, "base": base, "file_bytes": file_bytes}


def make(workspace: Workspace, artifact: str, facts: Mapping[str, Json]) -> dict[str, Json]:
    """Make a root anew in staging, as its facts `format`, `base` and `declared_bytes` say; its new facts."""
    name = str(remembered(facts, "base", artifact))
    disk = StoredDisk(workspace.create(artifact), artifact)
    disk_format = disks.format_of(facts, artifact)
    size_bytes = cast("int | None", facts.get("declared_bytes"))
    disk_format.make(Base(workspace.path(name), name), disk, size_bytes, workspace)
    return {**facts, "file_bytes": disk_format.size_of(disk.path)}


def _is_of_base(reason: Reason) -> bool:
    return reason.code is ReasonCode.INPUT_CHANGED or reason.facts.get("key") == IMAGE_KEY


def _judge_other(situation: Situation) -> Verdict:
    """A root of another base or format takes this one's place unless a guest has written to it."""
    if not situation.modified():
        return Verdict(Verb.REPLACE, situation.changes)
    return Verdict(Verb.BLOCKED, (*situation.changes, Reason(ReasonCode.GUEST_WROTE, _how_much(situation))))


def _how_much(situation: Situation) -> dict[str, Json]:
    """What a disk over a base takes up: the guest's but for some hundred KiB. Of others nobody can tell."""
    record, allocated = situation.record, situation.allocated_bytes
    if record is None or not allocated or "format" not in record.facts:
        return {}
    return {"bytes": allocated} if formats.named(str(record.facts["format"])).stands_on_base else {}


def _image_of(situation: Situation) -> str | None:
    """The step whose artifact a root stands on, which need not be of the image that is declared now."""
    base = situation.record.facts.get("base", "") if situation.record else ""
    image = ArtifactPath(base).owner
    return StepId.image(image.name, "rootfs") if image else None
