"""Fill new upper disks from templates: what several of them share is written once, see `deduplication`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bangerbuild.disk import layers
from bangerbuild.disk.layers import Written
from bangerbuild.disk.overlayfs.tree import JoinedTree
from bangerbuild.disk.sparse_template import SparseTemplate
from bangerbuild.disk.template import locate
from bangerbuild.disk.tools import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.formats.values import DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, OwnLayer
    from bangerbuild.disk.sparse_disk import SparseDisk
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")


@dataclass(frozen=True)
class NewUpper:
    """An upper disk without changes that is to be filled."""

    disk: StoredDisk
    key: object
    """What decides its bytes."""
    empty: Callable[[], AbstractContextManager[SparseDisk]]
    """Opens what its file holds."""
    lower: Callable[[], AbstractContextManager[Filesystem]]
    """Opens the lower disk."""
    place: DiskMount


@dataclass(frozen=True)
class _SharedPart(Generic[S]):
    disk: SparseDisk
    """As the shared layers leave it."""
    under: SparseDisk
    """As they found it."""
    written: tuple[S, ...]


@dataclass(frozen=True)
class _Template(Generic[W]):
    sparse: SparseTemplate
    files: tuple[str, ...]
    """Whose content is replaced, by path, in the template's order."""
    written: W


def fill(new: NewUpper, content: Layers[S, W], job: DiskJob) -> Written[S, W]:
    """Fill a new disk from a template; the digest of its file is told to the job."""
    key = new.key, new.place, content.shared_key
    with job.using(key, lambda: _shared_part(new, content, job)) as part:
        own_key = key, content.own.template_key(BLOCK_BYTES)
        with job.using(own_key, lambda: _template(new, content.own, part, job)) as template:
            files = {file.path: (file.content, file.mtime_ns) for file in content.own.files}
            own = [files[path] for path in template.files]
            job.has_digest(new.disk.name, template.sparse.instantiate(new.disk.path, own))
            return Written(part.written, template.written)


@contextmanager
def _shared_part(new: NewUpper, content: Layers[S, W], job: DiskJob) -> Iterator[_SharedPart[S]]:
    with new.empty() as empty:
        disk = empty.copy(new.disk.name)  # the job that asks first hears what is wrong
        with _opened(new, disk, job) as tree:
            written = layers.write_shared(tree, content)
    yield _SharedPart(disk, empty, written)


@contextmanager
def _template(
    new: NewUpper, own: OwnLayer[S, W], part: _SharedPart[S], job: DiskJob
) -> Iterator[_Template[W]]:
    disk = part.disk.copy(new.disk.name)
    with _opened(new, disk, job) as tree:
        written = own.write(tree, part.written)
        files = {file.path: found for file in own.files if (found := locate(tree, file.path))}
        superblock = tree.nodes.handle.superblock()
    for at, length in (span for found in files.values() for span in found.spans):
        disk.keep(at, length)
    sparse = SparseTemplate(disk, part.under, superblock, files.values())
    yield _Template(sparse, tuple(files), written)


@contextmanager
def _opened(new: NewUpper, disk: SparseDisk, job: DiskJob) -> Iterator[JoinedTree]:
    with (
        new.lower() as lower,
        JoinedTree(disk, lower, writable=True, now=job.epoch, place=new.place) as tree,
    ):
        yield tree
