"""`image.X.work_seed`: what a new work disk starts as, made from the same sources as a root image."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import RAW
from bangerbuild.formats.flatten import NESTED, flattened
from bangerbuild.formats.totals import measure
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.sources.source import EntryTree
from bangerbuild.steps import image_content, image_files, image_foresight, image_source, image_tree, images
from bangerbuild.steps.unopened import Unopened
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.disk.inode import Stat
    from bangerbuild.model import Json, Pin, Situation, Source, Verdict, View, Workspace
    from bangerbuild.sources.source import ImageSource
    from bangerbuild.tree import Entry

LABEL = "work"
BYTES_PER_INODE = 16384
"""As mke2fs has it by itself."""
SPARE_INODES = 16
"""More than those that every filesystem has reserved."""


@dataclass(frozen=True)
class ImageWorkSeed(Unopened):
    """One seed; a `root` directory at its top becomes the top, so that it holds what /root shall hold."""

    kind: ClassVar[str] = "image-work-seed"
    format: ClassVar[int] = 2
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    tools: ClassVar[tuple[str, ...]] = image_source.TOOLS

    name: str = field(metadata={"recipe": False})
    work_seed: ImageSource

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each image that has a seed."""
        for image in manifest.images.values():
            if image.work_seed is not None:
                yield cls(image.name, image.work_seed)

    @property
    @override
    def id(self) -> str:
        return StepId.image(self.name, "work_seed")

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return self.work_seed.inputs

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.image(self.name, f"work-seed{RAW.suffix}"),)

    @property
    @override
    def sources(self) -> tuple[Source, ...]:
        return self.work_seed.reads("work_seed")

    @override
    def judge(self, situation: Situation) -> Verdict:
        return images.judge(situation)

    @override
    def notes(self, pin: Pin | None) -> tuple[str, ...]:
        return self.work_seed.notes(pin)

    @override
    def foresee(self, view: View) -> None:
        image_foresight.foresee(self.work_seed, view, flattened, image_files.NONE)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        target = workspace.create(self.outputs[0].format(fingerprint=workspace.fingerprint))
        facts = image_source.build(
            self.work_seed, target, workspace, label=LABEL, adapt=flattened, oddities=_oddities
        )
        if facts["form"] == image_content.FILESYSTEM and _is_nested(target):
            self._flatten(target, workspace)
        return facts

    def _flatten(self, target: Path, workspace: Workspace) -> None:
        """Write an ext4 that holds a `root` directory anew, as a tree of the same size."""
        nested = target.rename(workspace.staging / "nested.ext4")
        size_bytes = nested.stat().st_size
        with _flattened_disk(nested) as entries:
            inodes = max(measure(entries).inodes + SPARE_INODES, size_bytes // BYTES_PER_INODE)
        tree = EntryTree(self.work_seed.written, size_bytes, lambda: _flattened_disk(nested), inodes)
        image_tree.fill(tree, target, workspace, label=LABEL)
        image_source.check(target, tree.written)
        target.chmod(0o444)
        nested.unlink()


def _is_nested(path: Path) -> bool:
    with RawFile(path) as blocks, Filesystem(blocks) as seed:
        found = seed.stat(f"/{NESTED}", follow=False)
        return found is not None and found.type is EntryType.DIRECTORY


@contextmanager
def _flattened_disk(path: Path) -> Iterator[Iterator[Entry]]:
    with RawFile(path) as blocks, Filesystem(blocks) as seed:
        yield flattened(entry for entry in seed.walk() if entry.path != "lost+found")


def _oddities(top: Stat) -> Iterator[str]:
    """What is wrong with the top of a work disk, which is root's home or a data directory: 0700 is fine."""
    if top.mode & 0o1002 == 0o002:
        yield f"has mode {top.mode:04o}: everybody in the guest can replace what is in it; make it 0755 there"
