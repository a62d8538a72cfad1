"""`image = "NAME"`: the same filesystem of another image of the manifest."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from typing_extensions import override

from bangerbuild.model import NO_RECIPE, StepId
from bangerbuild.sources.bases import DeclaredSize, NeverLocked
from bangerbuild.sources.source import Content, FilesystemKind, ImageArtifact, ImageSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.host.process import Program
    from bangerbuild.model import Source, View
    from bangerbuild.sources.source import OpenContext, SourceTable


@dataclass(frozen=True)
class OtherImage(DeclaredSize, NeverLocked, ImageSource, FilesystemKind):
    """Another image's filesystem. Its fingerprint counts as an input, so its name need not."""

    word: ClassVar[str] = "image"
    keys: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[Program, ...]] = ()
    host_paths: ClassVar[tuple[Path, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    image: str = field(metadata=NO_RECIPE)
    key: Literal["rootfs", "work_seed"] = field(default="rootfs", metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        key: Literal["rootfs", "work_seed"] = "rootfs" if table.key == "rootfs" else "work_seed"
        return cls(table.get("image"), key, table.size("size"))

    @classmethod
    @override
    def claims(cls, text: str) -> bool:  # a command line has no other images
        return False

    @property
    @override
    def written(self) -> str:
        return f"image {self.image}"

    @property
    @override
    def based_on(self) -> str | None:
        return self.image

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return (StepId.image(self.image, self.key),)

    @override
    def reads(self, role: str) -> tuple[Source, ...]:  # another step's artifact is an input
        return ()

    @override
    def foreseen(self, view: View) -> Content | None:
        return self._content(view) if view.is_kept(*self.inputs) else None

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        yield self._content(context)

    def _content(self, context: OpenContext | View) -> Content:
        path = context.path(context.artifact(*self.inputs))
        return Content(ImageArtifact(path, self.written, self.size_bytes))
