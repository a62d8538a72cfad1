"""New ext4 files: empty, cloned, grown."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import clone, tools
from bangerbuild.errors import FilesystemError
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.formats.values import DiskJob

TOOLS = ("e2fsprogs", "SOURCE_DATE_EPOCH")
"""What decides the bytes of a disk that is made here."""
NO_REFLINK = "the store's filesystem can't share blocks between files (btrfs and XFS can): disks are copied"
NO_HOLES = "the store's filesystem can't keep holes in files: a disk takes its whole size from the start"


@contextmanager
def empty(geometry: tools.Geometry, identity: str, epoch: int) -> Iterator[Path]:
    """A file in memory with an empty ext4, whose UUID is made of `identity`.

    mke2fs leaves holes in memory where a filesystem for files would allocate ranges of zeros: gigabytes for a
    large disk. The file may be smaller than the disk, as mke2fs leaves out a last group that would hold next
    to nothing.

    Raises:
        ToolError: it is too small.
    """
    fd = os.memfd_create("ext4", os.MFD_CLOEXEC)
    try:
        path = Path(f"/proc/{os.getpid()}/fd/{fd}")
        run(tools.mke2fs(path, geometry, fingerprint=identity, epoch=epoch))
        yield path
    finally:
        os.close(fd)


def make_empty(path: Path, geometry: tools.Geometry, job: DiskJob) -> None:
    """Make a disk with an empty ext4 that allocates next to nothing.

    Its UUID is made of the job's fingerprint.
    """
    check_holes(job)
    with empty(geometry, job.fingerprint, job.epoch) as made:
        clone.sparse_copy(made, path)
    os.truncate(path, geometry.size_bytes)


def make_clone(source: Path, target: Path, job: DiskJob) -> None:
    """Make a disk as a copy of another; said if it takes more room than it would have to."""
    check_holes(job)
    if not clone.clone(source, target):
        job.warn(NO_REFLINK)


def check_holes(job: DiskJob) -> None:
    """Say so if disks can't have holes here."""
    if not job.shared("holes", lambda: nullcontext(clone.keeps_holes(job.staging))):
        job.warn(NO_HOLES)


def grow(path: Path, size_bytes: int, epoch: int) -> None:
    """Grow the filesystem in a file of this job's own, its journal replayed first."""
    run(tools.e2fsck_preen(path, epoch=epoch, size_bytes=path.stat().st_size))
    os.truncate(path, size_bytes)
    run(tools.resize2fs(path, size_bytes=size_bytes, epoch=epoch))


def root_bytes(image: Path, size_bytes: int | None) -> int:
    """The size in bytes of a root that starts as its image: as the manifest gives it, else the image's.

    Raises:
        FilesystemError: the image does not fit.
    """
    image_bytes = image.stat().st_size
    if size_bytes is not None and size_bytes < image_bytes:
        raise FilesystemError(
            f"a root of {size_bytes} bytes is too small for its image, which has {image_bytes}",
            hint="give `size` under [vm.NAME.root] at least the image's size, or leave it out",
        )
    return size_bytes or image_bytes


def refuse_to_shrink(name: str, old: int, new: int | None) -> None:
    """Raise if a disk is larger than it shall be: what lies beyond would be lost."""
    if new is not None and new < old:
        raise FilesystemError(
            f"'{name}' has {old} bytes, and the manifest wants {new}: a disk can't shrink",
            hint="give it at least that size in the manifest, or move the file away",
        )
