"""Fill new overlays of one base from templates: what several of them share is written once.

An overlay is a file of any format that holds what differs from its base; `OverlayStore` writes it.

Stores that share all their shared layers share a base layer: the base as those layers leave it, parsed once.
Stores whose own layers differ in content and times of files only are instantiated from one template over it.
Both are kept under a deduplication key, which is what decides their bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bangerbuild.disk import layers
from bangerbuild.disk.base import ParsedBase
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.layers import Written
from bangerbuild.disk.template import StoreTemplate, locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, OwnLayer
    from bangerbuild.disk.overlay import OverlayStore
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")

MOST_BYTES = 8 << 20
"""How much shared layers may bring for a base layer, which is kept in memory, to be made of them."""


@dataclass(frozen=True)
class NewStore:
    """An empty file over a base that is to be filled."""

    kind: type[OverlayStore]
    """Of which format it is."""
    disk: StoredDisk
    base: Base
    parsed: ParsedBase
    """What it starts as: its base, or that with a filesystem that has grown."""
    place: DiskMount
    """Where the guest mounts it."""


@dataclass(frozen=True)
class _BaseLayer(Generic[S]):
    parsed: ParsedBase
    written: tuple[S, ...]
    """What the shared layers returned."""


@dataclass(frozen=True)
class _Template(Generic[W]):
    store: StoreTemplate
    files: tuple[str, ...]
    """Whose content is replaced, by path, in the template's order."""
    written: W
    """What the own layer returned."""


def fill(new: NewStore, content: Layers[S, W], job: DiskJob) -> Written[S, W]:
    """Fill a new store from a template; the digest of its file is told to the job."""
    key = new.kind, new.base.path, new.parsed.size_bytes, new.place, content.shared_key
    with job.using(key, lambda: _base_layer(new, content, job)) as base:
        own_key = key, content.own.template_key(base.parsed.superblock.block_bytes)
        with job.using(own_key, lambda: _template(new, content.own, base, job)) as template:
            files = {file.path: (file.content, file.mtime_ns) for file in content.own.files}
            own = [files[path] for path in template.files]
            digest = template.store.instantiate(new.disk.path, new.disk.name, own)
            job.has_digest(new.disk.name, digest)
            return Written(base.written, template.written)


def parsed_base(base: Base, job: DiskJob) -> ParsedBase:
    """What is parsed of an image, for all jobs of a run."""
    return job.shared(f"parsed {base.path}", lambda: _parsed(base))


@contextmanager
def _parsed(base: Base) -> Iterator[ParsedBase]:
    with RawFile(base.path) as blocks, ParsedBase(blocks) as parsed:
        yield parsed


@contextmanager
def _base_layer(new: NewStore, content: Layers[S, W], job: DiskJob) -> Iterator[_BaseLayer[S]]:
    with _store_in_memory(new, new.parsed, job) as store:
        with _opened(new, new.parsed, store, job) as filesystem:
            written = layers.write_shared(filesystem, content)
        with ParsedBase(store) as parsed:
            yield _BaseLayer(parsed, written)


@contextmanager
def _template(
    new: NewStore, own: OwnLayer[S, W], base: _BaseLayer[S], job: DiskJob
) -> Iterator[_Template[W]]:
    with _store_in_memory(new, base.parsed, job) as store:
        with _opened(new, base.parsed, store, job) as filesystem:
            written = own.write(filesystem, base.written)
            paths = [file.path for file in own.files]
            files = {path: found for path in paths if (found := locate(filesystem, path))}
            for found in files.values():
                for at, length in found.spans:
                    store.keep(at, length)
            superblock = filesystem.nodes.handle.superblock()
        yield _Template(StoreTemplate(store, superblock, files.values()), tuple(files), written)


@contextmanager
def _store_in_memory(new: NewStore, parsed: ParsedBase, job: DiskJob) -> Iterator[OverlayStore]:
    path = job.staging / f"{new.disk.path.name}.template"
    with new.kind.create(parsed.base, path, base_name=new.base.name, durable=False) as store:
        path.unlink()  # the open file is enough
        store.name = new.disk.name  # the job that asks first hears what is wrong
        store.resize(parsed.size_bytes)
        if parsed.chunks is not None:
            store.start_with(parsed.chunks)
        yield store


def _opened(new: NewStore, parsed: ParsedBase, store: OverlayStore, job: DiskJob) -> Filesystem:
    return Filesystem(store, writable=True, now=job.epoch, place=new.place, parsed=parsed)
