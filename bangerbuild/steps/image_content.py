"""What an image source turns out to be when it is opened: a tree of entries, or a filesystem as it is."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, cast

from bangerbuild.declared import (
    DirectorySource,
    Ext4Source,
    MmdebstrapSource,
    OciArchiveSource,
    OciSource,
    OtherImage,
    PinnedSource,
    TarSource,
    UrlSource,
)
from bangerbuild.fetch.recognise import Form, recognise, unpack_ext4
from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.layers import merge_layers
from bangerbuild.guest.entrypoint import entrypoint
from bangerbuild.guest.files import GuestEdits
from bangerbuild.resolving.pins import FACT, fact
from bangerbuild.sources import container, downloads, packages
from bangerbuild.steps.image_tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from bangerbuild.declared import ImageSource
    from bangerbuild.model import Json, Workspace
    from bangerbuild.sources.container import ContainerImage
    from bangerbuild.tree import Entry

    Adapt: TypeAlias = Callable[[Iterator[Entry]], Iterator[Entry]]


TREE, FILESYSTEM, IMAGE = "tree", "filesystem", "image"
"""What a source turned out to be, as a fact that is remembered; an image is one that was made here."""


@dataclass(frozen=True)
class DiskImage:
    """A file that holds a filesystem."""

    path: Path
    written: str
    """What messages call it."""
    size_bytes: int | None
    """That the image shall have; None: the file's."""
    is_ours: bool = False
    """Whether it lies in staging and may become the image itself."""


@dataclass(frozen=True)
class Content:
    """What a source holds, and what is to be remembered of it."""

    data: Tree | DiskImage
    facts: Mapping[str, Json] = field(default_factory=dict)
    added: GuestEdits = field(default_factory=GuestEdits)
    """What is written into the image because of what the source says."""


def as_is(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries of a source, unchanged."""
    return entries


@contextmanager
def opened(source: ImageSource, workspace: Workspace, adapt: Adapt) -> Iterator[Content]:
    """A source, brought here if it lies elsewhere; of a tree the entries as `adapt` has them.

    Raises:
        SourceError, FetchError, ToolError: it can't be had, or is not what it was pinned to.
    """
    with _OPENERS[type(source)](source, workspace) as content:
        facts = dict(content.facts)
        if isinstance(source, PinnedSource):
            facts[FACT] = cast("Json", fact(source))
        if isinstance(content.data, Tree):
            yield replace(content, data=_adapted(content.data, adapt), facts={**facts, "form": TREE})
        else:
            form = IMAGE if isinstance(source, OtherImage) else FILESYSTEM
            yield replace(content, facts={**facts, "form": form})


def _adapted(tree: Tree, adapt: Adapt) -> Tree:
    @contextmanager
    def entries() -> Iterator[Iterator[Entry]]:
        with tree.entries() as stream:
            yield adapt(stream)

    return replace(tree, entries=entries)


@contextmanager
def _tar(source: TarSource, _workspace: Workspace) -> Iterator[Content]:
    yield Content(_tarball(source.path.path, source))


def _tarball(path: Path, source: TarSource | UrlSource | MmdebstrapSource) -> Tree:
    limits = UnpackLimits(source.max_size_bytes)
    return Tree(
        source.written, source.size_bytes, lambda: open_archive(path, written=source.written, limits=limits)
    )


@contextmanager
def _directory(source: DirectorySource, workspace: Workspace) -> Iterator[Content]:
    rules = TreeRules(keep_owner=source.keep_owner, mtime_s=workspace.epoch)

    @contextmanager
    def entries() -> Iterator[Iterator[Entry]]:
        yield walk_directory(source.path.path, rules, written=source.written)

    yield Content(Tree(source.written, source.size_bytes, entries))


@contextmanager
def _ext4(source: Ext4Source, _workspace: Workspace) -> Iterator[Content]:
    yield Content(DiskImage(source.path.path, source.written, source.size_bytes))


@contextmanager
def _other_image(source: OtherImage, workspace: Workspace) -> Iterator[Content]:
    artifact = workspace.artifact(source.step)
    yield Content(DiskImage(workspace.path(artifact), source.written, source.size_bytes))


@contextmanager
def _container(source: OciSource, workspace: Workspace) -> Iterator[Content]:
    with container.opened(source, workspace) as found:
        yield _layers(source, found)


@contextmanager
def _archive(source: OciArchiveSource, _workspace: Workspace) -> Iterator[Content]:
    with container.archived(source) as found:
        yield _layers(source, found)


def _layers(source: OciSource | OciArchiveSource, found: ContainerImage) -> Content:
    limits = UnpackLimits(source.max_size_bytes)
    merged = merge_layers(found.layout, found.image, written=source.written, limits=limits)
    tree = Tree(source.written, source.size_bytes, lambda: closing(merged.entries()))
    facts = {"config": cast("Json", asdict(found.image.config))}
    if source.entrypoint is None:
        return Content(tree, facts)
    return Content(tree, facts, entrypoint(source.entrypoint, found.image.config, source.written))


@contextmanager
def _url(source: UrlSource, workspace: Workspace) -> Iterator[Content]:
    with downloads.opened(source, workspace) as blob:
        if recognise(blob.path, written=source.written).form is Form.TAR:
            yield Content(_tarball(blob.path, source))
            return
        unpacked, limits = workspace.staging / "unpacked.ext4", UnpackLimits(source.max_size_bytes)
        unpack_ext4(blob.path, unpacked, written=source.written, limits=limits)  # no server sends holes
        yield Content(DiskImage(unpacked, source.written, source.size_bytes, is_ours=True))


@contextmanager
def _packages(source: MmdebstrapSource, workspace: Workspace) -> Iterator[Content]:
    with packages.opened(source, workspace) as path:
        yield Content(_tarball(path, source))


_OPENERS = cast(
    "Mapping[type, Callable[[ImageSource, Workspace], AbstractContextManager[Content]]]",
    {
        TarSource: _tar,
        DirectorySource: _directory,
        Ext4Source: _ext4,
        UrlSource: _url,
        OciSource: _container,
        OciArchiveSource: _archive,
        MmdebstrapSource: _packages,
        OtherImage: _other_image,
    },
)
