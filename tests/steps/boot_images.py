"""An image with a kernel and an initrd, declared as typed values and built in process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import execute, graph, store
from bangerbuild.declared import VM, Image, Manifest, Network
from bangerbuild.model import HostPath
from bangerbuild.planning import plan
from bangerbuild.planning.host import LocalHost
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.steps.image_initrd import ImageInitrd
from bangerbuild.steps.image_kernel import ImageKernel
from bangerbuild.steps.image_rootfs import ImageRootfs
from tests.fakes import EPOCH, RecordingReporter
from tests.projects import Project, by_id

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.errors import BangerError
    from bangerbuild.model import Action, Result, Step
    from bangerbuild.sources.source import BootSource
    from bangerbuild.steps.step_kind import StepKind

ROOTFS_BYTES = 48 << 20


@dataclass
class BootImage(Project):
    """One image `x` whose root filesystem is the directory `tree`."""

    kernel: BootSource | None = None
    initrd: BootSource | None = None
    cmdline_vms: tuple[str, ...] = ()

    @property
    def boot(self) -> Path:
        """The guest's /boot."""
        path = self.directory / "tree" / "boot"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def host(self, name: str, content: bytes) -> HostBootFile:
        """A kernel or initrd beside the manifest."""
        (self.directory / name).write_bytes(content)
        return HostBootFile(HostPath(self.directory / name, name))

    def manifest(self) -> Manifest:
        _ = self.boot
        rootfs = DirectorySource(HostPath(self.directory / "tree", "tree"), ROOTFS_BYTES)
        images = {
            "x": Image("x", rootfs, kernel=self.kernel, initrd=self.initrd),
            "bare": Image("bare", rootfs),
        }
        network = Network("cmdline", "10.0.0.2/24")
        vms = {name: VM(name, "x", name, network=network) for name in self.cmdline_vms}
        vms["other"] = VM("other", "bare", "other", network=network)
        return Manifest(self.store, images, vms)

    def steps(self) -> list[Step]:
        """What is declared of image `x`."""
        manifest = self.manifest()
        kinds: tuple[type[StepKind], ...] = (ImageRootfs, ImageKernel, ImageInitrd)
        declared = [step for kind in kinds for step in kind.declare(manifest)]
        return [step for step in declared if step.id != "image.bare.rootfs"]

    def plan(self) -> dict[str, Action]:
        opened = store.read(self.store)
        made = plan.make(graph.build(self.steps()), opened, LocalHost(opened, EPOCH), epoch=EPOCH)
        return by_id(made)

    def apply(self, *replace: str, keep_going: bool = True) -> dict[str, Result]:
        assert not replace
        reporter = RecordingReporter()
        limits = execute.ExecuteOptions(jobs=2, keep_going=keep_going, epoch=EPOCH)
        with store.writing(self.store, timeout_seconds=0) as opened:
            host = LocalHost(opened, EPOCH)
            made = plan.make(graph.build(self.steps()), opened, host, epoch=EPOCH)
            results = execute.execute(made, opened, host, reporter, limits)
        return self._ended(reporter, results)

    def error(self, step_id: str) -> BangerError:
        """Build; the error of the step that has to fail, and that must have left nothing behind."""
        error = super().error(step_id)
        assert "\n" not in error.brief
        assert step_id not in store.read(self.store).records
        assert not list((self.store / ".staging").iterdir())
        return error

    def published(self) -> set[str]:
        """The names of all artifacts."""
        return {path.name for path in (self.store / "images").rglob("*") if path.is_file()}
