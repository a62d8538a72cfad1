"""`vm.X.launch`: the files that start a VM, and those that attach its root."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, cast

from typing_extensions import override

from bangerbuild.disk.attachment import Drive
from bangerbuild.launch import cmdline, files, machine
from bangerbuild.model import TO_MAKE, ArtifactPath, Reason, ReasonCode, StepId, Verb, Verdict
from bangerbuild.model.artifacts import directory_of
from bangerbuild.model.recovered import Recovered, Stray
from bangerbuild.steps import disks
from bangerbuild.steps.step_kind import Identified
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import VM, Image, Manifest, Network
    from bangerbuild.disk.attachment import Attachment
    from bangerbuild.model import Json, Situation, Source, View, Workspace

MIB = 1 << 20


@dataclass(frozen=True)
class Start:
    """What of a VM counts where its image has a kernel."""

    vcpus: int
    memory_bytes: int = field(metadata={"key": "memory"})
    cmdline: str
    hostname: str | None
    """Only where the kernel is told."""
    network: Network

    @classmethod
    def of(cls, vm: VM, image: Image) -> Self:
        """Without what would change no file: only `ip=` has a hostname and name servers."""
        line = image.cmdline if image.cmdline is not None else cmdline.DEFAULT
        if vm.network.mode == "cmdline":
            return cls(vm.vcpus, vm.memory_bytes, line, vm.hostname, vm.network)
        return cls(vm.vcpus, vm.memory_bytes, line, None, replace(vm.network, dns=()))


@dataclass(frozen=True)
class NoKernel:
    """Nothing of a VM counts where its image has none: somebody else starts it."""


@dataclass(frozen=True)
class Launch(Identified, Unopened):
    """One VM's launch files: the tool's own, written anew whenever they are not what they should be."""

    kind: ClassVar[str] = "launch"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = ()

    name: str = field(metadata={"recipe": False})
    image: str = field(metadata={"recipe": False})
    """What of it is named in the files counts, as inputs."""
    work: bool
    disks: tuple[str, ...] = field(metadata={"key": "disk"})
    start: Start | NoKernel = field(metadata={"key": ""})
    initrd: bool = field(metadata={"recipe": False})
    with_kernel: Start = field(metadata={"recipe": False}, compare=False)
    """How it starts if there is a kernel, declared or not."""
    of_base: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """Which of kernel and initrd no file is named for: they go with the image that the root stands on."""

    def __post_init__(self) -> None:
        boot = (StepId.image(self.image, "kernel"), StepId.image(self.image, "initrd"))[: 1 + self.initrd]
        inputs = (*self._disks().values(), *(boot if self._has_kernel else ()))
        self._keep(_id=StepId.vm(self.name, "launch"), _inputs=inputs)

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM."""
        for vm in manifest.vms.values():
            image = manifest.images[vm.image]
            with_kernel = Start.of(vm, image)
            yield cls(
                vm.name,
                image.name,
                vm.work is not None,
                tuple(disk.name for disk in vm.disks),
                with_kernel if image.kernel else NoKernel(),
                image.kernel is not None and image.initrd is not None,
                with_kernel,
                tuple(_of_base(image)),
            )

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return self._inputs

    @property
    @override
    def from_base(self) -> tuple[str, ...]:
        return tuple(StepId.image(self.image, part) for part in self.of_base)

    @override
    def on_base(self, there: Collection[str]) -> Self:
        has_kernel = self._kernel in there if "kernel" in self.of_base else self._has_kernel
        initrd = self._initrd in there if "initrd" in self.of_base else True
        start = self.with_kernel if has_kernel else NoKernel()
        return replace(self, start=start, initrd=has_kernel and initrd)

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return tuple(ArtifactPath.vm(self.name, name) for name in files.names(kernel=self._has_kernel))

    @override
    def judge(self, situation: Situation) -> Verdict:
        """No guest writes them, so what is not as it should be is written anew, a user's edits included."""
        if situation.missing and not situation.changes:
            return TO_MAKE
        if situation.missing:
            return Verdict(Verb.CREATE, (*situation.changes, *TO_MAKE.reasons))
        if situation.changes:
            return Verdict(Verb.UPDATE, situation.changes)
        if situation.modified():
            return Verdict(Verb.UPDATE, (Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": self._directory}),))
        return Verdict(Verb.KEEP)

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | None:
        """What is there as it would be written today; whatever else is there is written anew."""
        if not view.facts(StepId.vm(self.name, "root")):  # it is not known what they should name
            return None
        for file in files.files(self.as_machine(view)):
            path = view.path(f"{self._directory}/{file.name}")
            if not path.is_file() or path.read_bytes() != file.content.encode():
                return None
        return Recovered(artifacts)

    @classmethod
    @override
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | None:
        if path.name not in files.names(kernel=True):
            return None
        return Stray(StepId.vm(name, "launch"), cls.kind, Recovered((artifact,)))

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        for file in files.files(self.as_machine(workspace)):
            target = workspace.create(ArtifactPath.vm(self.name, file.name))
            target.write_text(file.content, encoding="utf-8")
            target.chmod(file.mode)
        return {}

    @property
    def _kernel(self) -> StepId:
        return StepId.image(self.image, "kernel")

    @property
    def _initrd(self) -> StepId:
        return StepId.image(self.image, "initrd")

    @property
    def _has_kernel(self) -> bool:
        return isinstance(self.start, Start)

    @property
    def _directory(self) -> str:
        return directory_of(StepId.vm(self.name, "launch").owner)

    def _disks(self) -> dict[str, StepId]:
        """Each disk's name and the step that makes it, in the order in which the guest finds them."""
        work = {"work": StepId.vm(self.name, "work")} if self.work else {}
        return (
            {"root": StepId.vm(self.name, "root")}
            | work
            | {name: StepId.vm(self.name, f"disk.{name}") for name in self.disks}
        )

    def as_machine(self, view: View) -> machine.Machine:
        """The VM as its launch files describe it, and as `boot` starts it."""
        _, *others = self._disks().values()
        drives = tuple(Drive(self._relative(view.artifact(step_id))) for step_id in others)
        root = self._root(view)
        boot = self._boot(self.start, view, root) if isinstance(self.start, Start) else None
        return machine.Machine(self.name, root, drives, boot)

    def _root(self, view: View) -> Attachment:
        """What is there decides, not what is declared: a root that a guest has written to stays as it is."""
        disk_format, root = disks.stored(view, StepId.vm(self.name, "root"))
        base = self._relative(root.base.name) if root.base else ""
        return disk_format.attachment(self._relative(root.name), base)

    def _boot(self, start: Start, view: View, root: Attachment) -> machine.Boot:
        kernel, *_, vmlinux = view.artifacts(self._kernel)
        initrd = view.artifact(self._initrd) if self.initrd else None
        line = cmdline.with_network(start.cmdline, start.network, start.hostname or self.name)
        return machine.Boot(
            kernel=self._relative(kernel),
            vmlinux=self._relative(vmlinux),
            initrd=self._relative(initrd) if initrd else None,
            cmdline=cmdline.with_words(line, root.kernel_words),
            vcpus=start.vcpus,
            memory_mib=start.memory_bytes // MIB,
            card=machine.card(self.name, start.network),
        )

    def _relative(self, artifact: str) -> str:
        return posixpath.relpath(f"/{artifact}", f"/{self._directory}")


class Known(Protocol):
    """The part of a View that has what was there for a step when it ran last."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """The fingerprints of what it ran with."""


def as_recorded(step: Launch, known: Known) -> machine.Machine:
    """The VM as its launch files have it: with the kernel and the initrd that go with its root."""
    there = set(step.from_base) & known.inputs.keys()
    return (step.on_base(there) if there else step).as_machine(cast("View", known))


def _of_base(image: Image) -> Iterator[str]:
    for part, source in (("kernel", image.kernel), ("initrd", image.initrd)):
        if source is None or source.inputs(image.name):
            yield part
