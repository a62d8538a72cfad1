"""`overlay`: a disk of its own that the guest itself joins with the read-only image, by overlayfs.

No VMM and no host has to know of it: the image is one disk of the VM, and this is the next. An init in the
image (`[image.NAME.rootfs] overlay_init`) joins the two before the guest's own init starts.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from typing_extensions import override

from bangerbuild.disk.attachment import Attachment, Drive
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.over_base import base_of
from bangerbuild.disk.formats.raw import Raw
from bangerbuild.disk.formats.values import SizeRule
from bangerbuild.disk.overlayfs import upper
from bangerbuild.errors import OtherBaseError
from bangerbuild.tree import ALONE, DiskMount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager, ExitStack
    from pathlib import Path

    from bangerbuild.disk import checking
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, Written
    from bangerbuild.disk.sparse_disk import SparseDisk

S = TypeVar("S")
W = TypeVar("W")

INIT = "/sbin/bangerbuild-overlay-init"
"""Where the image has the init that joins the two disks."""


class Overlay(Raw):
    """A root is an ext4 with the upper tree; all that a raw disk can do, its file can do too."""

    name: ClassVar[str] = "overlay"
    kind: ClassVar[str] = "root-upper"
    version: ClassVar[int] = 1
    suffix: ClassVar[str] = ".upper.ext4"
    stands_on_base: ClassVar[bool] = True
    image_key: ClassVar[str] = "overlay_init"
    kernel_modules: ClassVar[Mapping[str, str]] = {"OVERLAY_FS": "overlay"}
    size: ClassVar[SizeRule] = SizeRule(
        least_bytes=16 << 20,
        too_small="too small for what a guest writes",
        hint="give at least 16MiB, or leave size out for 1GiB, of which only what is written takes room",
        is_whole_blocks=True,
        is_of_clone=False,
        default_bytes=upper.DEFAULT_BYTES,
    )

    @property
    @override
    def tools(self) -> tuple[str, ...]:
        return ("e2fsprogs", "libext2fs", "SOURCE_DATE_EPOCH")

    @override
    def recognises(self, head: bytes) -> bool:
        return upper.is_marked(head)

    @override
    def base_of(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return upper.lower_name(file.read(upper.MARK_BYTES))

    @override
    def attachment(self, root: str, base: str) -> Attachment:
        return Attachment(
            (Drive(base, is_read_only=True), Drive(root)),
            "a disk that its guest joins with its image",
            is_mounted=False,
            kernel_words=(f"init={INIT}",),
        )

    @override
    def files(
        self,
        blocks: Blocks,
        disk: StoredDisk,
        stack: ExitStack,
        *,
        writable: bool = False,
        now: int,
        allow_unclean: bool = False,
        place: DiskMount,
    ) -> Filesystem:
        from bangerbuild.disk.overlayfs.tree import JoinedTree

        base = base_of(disk)
        lower = stack.enter_context(_opened_base(base))
        tree = stack.enter_context(
            JoinedTree(blocks, lower, writable=writable, now=now, allow_unclean=allow_unclean, place=place)
        )
        named = upper.lower_name(blocks.read(0, upper.MARK_BYTES))
        if named and base.name and named != base.name:  # a guest may have lost the mark
            raise OtherBaseError.of(disk.name, named, base.name)
        tree.refuse_other_disk()
        return tree

    @override
    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """All of one image and one size are the same until they are filled."""
        from bangerbuild.disk import making

        with _empty(base, size_bytes or upper.DEFAULT_BYTES, job) as empty:
            making.check_holes(job)
            empty.instantiate(disk.path)

    @override
    def fill(self, disk: StoredDisk, content: Layers[S, W], place: DiskMount, job: DiskJob) -> Written[S, W]:
        """Write what several roots of one image and size get alike once for all."""
        from bangerbuild.disk import deduplication
        from bangerbuild.disk.overlayfs import filling

        if content.shared_bytes > deduplication.MOST_BYTES:
            return super().fill(disk, content, place, job)
        base, size_bytes = base_of(disk), disk.path.stat().st_size
        new = filling.NewUpper(
            disk,
            ("upper", base.path, size_bytes),
            lambda: _empty(base, size_bytes, job),
            lambda: _opened_base(base),
            place,
        )
        return filling.fill(new, content, job)

    @override
    def inspect(self, disk: StoredDisk, epoch: int) -> None:
        super().inspect(disk, epoch)
        with self.opened(disk, epoch=epoch, place=ALONE):
            pass

    @override
    def check(self, disk: StoredDisk, room: checking.CheckRoom) -> checking.Readable:
        """E2fsck judges the upper disk; the files are those of the two joined."""
        readable = super().check(disk, room)
        return replace(readable, content=lambda place: self.opened(disk, epoch=room.epoch, place=place))


@contextmanager
def _opened_base(base: Base) -> Iterator[Filesystem]:
    with RawFile(base.path) as blocks:
        blocks.name = base.name or str(base.path)
        with Filesystem(blocks) as lower:
            yield lower


def _empty(base: Base, size_bytes: int, job: DiskJob) -> AbstractContextManager[SparseDisk]:
    """A disk as `make` leaves it, for all jobs of a run."""

    @contextmanager
    def made() -> Iterator[SparseDisk]:
        with _opened_base(base) as lower:
            yield upper.empty(size_bytes, base.name, lower, job)

    return job.using(("empty upper", base.path, size_bytes), made)
