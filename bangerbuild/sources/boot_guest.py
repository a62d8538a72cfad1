"""`kernel = { guest = "/boot/vmlinuz-*" }`: a boot file out of the image's own root filesystem."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.kernel import boot_files
from bangerbuild.model import StepId
from bangerbuild.sources.bases import NeverLocked
from bangerbuild.sources.source import BootContent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.model import Source
    from bangerbuild.sources.source import FindBootFile, OpenContext, Program, SourceTable

_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class GuestBootFile(NeverLocked):
    """A kernel or initrd of the guest: of the files that match, the newest version."""

    word: ClassVar[str] = "guest"
    keys: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[Program, ...]] = ()
    host_paths: ClassVar[tuple[Path, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    pattern: str = field(metadata={"key": "guest"})
    """An absolute guest path whose last component may be a glob."""

    @classmethod
    def read(cls, table: SourceTable) -> Self | None:
        """See BootSource."""
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
    def written(self) -> str:
        """See DeclaredSource."""
        return self.pattern

    def inputs(self, image: str) -> tuple[str, ...]:
        """See BootSource."""
        return (StepId.image(image, "rootfs"),)

    def reads(self, role: str) -> tuple[Source, ...]:  # noqa: ARG002  # the root filesystem is an input
        """See DeclaredSource."""
        return ()

    @contextmanager
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:
        """See BootSource. The file is copied out of the image first."""
        (rootfs,) = self.inputs(image)
        copy = context.staging / "boot-file"
        with RawFile(context.path(context.artifact(rootfs))) as blocks, Filesystem(blocks) as guest:
            found = find(guest, self.pattern)
            boot_files.copy(guest, found, copy)
            yield BootContent(copy, found.path, found, guest)
        copy.unlink()
