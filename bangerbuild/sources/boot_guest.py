"""`kernel = { guest = "/boot/vmlinuz-*" }`: a boot file out of the image's own root filesystem."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.kernel import boot_files
from bangerbuild.model import StepId
from bangerbuild.sources.bases import NeverLocked
from bangerbuild.sources.source import BootContent, BootFileKind, BootSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from bangerbuild.host.process import Program
    from bangerbuild.model import Source, View
    from bangerbuild.sources.source import FindBootFile, OpenContext, SourceTable

_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class GuestBootFile(NeverLocked, BootSource, BootFileKind):
    """A kernel or initrd of the guest: of the files that match, the newest version."""

    word: ClassVar[str] = "guest"
    keys: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[Program, ...]] = ()
    host_paths: ClassVar[tuple[Path, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    pattern: str = field(metadata={"key": "guest"})
    """An absolute guest path whose last component may be a glob."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        path = table.guest_path("guest")
        if path is None:
            return None
        if _GLOB & set(path.rpartition("/")[0]):
            text = table.get("guest")
            message = f"'{text}' has a pattern in the name of a directory"
            table.problem("guest", message, "only the last component may hold * and ?")
            return None
        return cls(path)

    @property
    @override
    def written(self) -> str:
        return self.pattern

    @override
    def inputs(self, image: str) -> tuple[str, ...]:
        return (StepId.image(image, "rootfs"),)

    @override
    def reads(self, role: str) -> tuple[Source, ...]:  # the root filesystem is an input
        return ()

    @override
    def foresee(self, view: View, image: str, find: FindBootFile, check: Callable[[BinaryIO], None]) -> None:
        """Whether the image that is there has such a file; one that is yet to be made says so when it is."""
        (rootfs,) = self.inputs(image)
        if view.is_kept(rootfs):
            with RawFile(view.path(view.artifact(rootfs))) as blocks, Filesystem(blocks) as guest:
                find(guest, self.pattern)

    @contextmanager
    @override
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:
        """The file is copied out of the image first."""
        (rootfs,) = self.inputs(image)
        copy = context.staging / "boot-file"
        with RawFile(context.path(context.artifact(rootfs))) as blocks, Filesystem(blocks) as guest:
            found = find(guest, self.pattern)
            boot_files.copy(guest, found, copy)
            yield BootContent(copy, found.path, found, guest)
        copy.unlink()
