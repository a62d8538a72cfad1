"""How an image source becomes an ext4 file: what every image step shares.

A tarball or directory is written into a fresh ext4; an ext4 file is cloned as it is. Whatever comes out is
judged by `e2fsck -fn` once, here, because libext2fs opens and writes many a damaged image without a word.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.disk import clone, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, SourceError, ToolError
from bangerbuild.model import Source
from bangerbuild.process import find, run
from bangerbuild.sources.archive import open_archive
from bangerbuild.sources.directory import walk_directory
from bangerbuild.sources.hostentry import TreeRules
from bangerbuild.sources.totals import measure
from bangerbuild.spec import DirectorySource, Ext4Source, TarSource
from bangerbuild.steps import disks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import TypeAlias

    from bangerbuild.model import Json, Workspace
    from bangerbuild.sources.totals import Totals
    from bangerbuild.spec import ImageSource
    from bangerbuild.tree import Entry

    Adapt: TypeAlias = Callable[[Iterator[Entry]], Iterator[Entry]]

WORDS: Mapping[type, str] = {TarSource: "tar", DirectorySource: "directory", Ext4Source: "ext4"}
TOOLS = ("e2fsprogs", "libext2fs", "SOURCE_DATE_EPOCH")
MIB = 1 << 20
JOURNAL_BYTES = 64 * MIB
"""The most that mke2fs takes for the journal of a filesystem of the sizes in question."""
SHOWN_LINES = 20
SHOWN_COLUMNS = 200
LEAST_BYTES = MIB
"""Below, mke2fs has no room for its own tables."""
HEADROOM_BYTES = 64 * MIB
SIZE_STEP_BYTES = 16 * MIB
BYTES_PER_INODE = 256


def host_source(table: str, source: ImageSource) -> Source:
    """What is read on the host, under a role that tells the sort of source: `rootfs.tar`."""
    rules = TreeRules(keep_owner=source.keep_owner) if isinstance(source, DirectorySource) else None
    return Source(f"{table}.{WORDS[type(source)]}", source.path.path, source.path.written, rules)


def as_is(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries of a source, unchanged."""
    return entries


def build(
    source: ImageSource,
    target: Path,
    workspace: Workspace,
    *,
    label: str = "",
    adapt: Adapt = as_is,
) -> Mapping[str, Json]:
    """Write the image to `target`, which does not exist; facts to remember.

    Args:
        source: a tree, or an ext4.
        target: the file to be made.
        workspace: of the step.
        label: what the filesystem is called; empty: as the source has it.
        adapt: what becomes of a tree's entries on the way.

    Raises:
        SourceError: the source can't be read, or holds what can't be taken.
        FilesystemError: the image has errors, or its content does not fit.
    """
    if isinstance(source, Ext4Source):
        _clone(source, target, workspace.epoch)
        if label:
            check(target, source.path.written)  # tune2fs is no judge either
            run(tools.tune2fs_label(target, label, epoch=workspace.epoch))
    else:
        fill(source_tree(source, adapt, workspace.epoch), target, workspace, label=label)
    check(target, source.path.written)
    target.chmod(0o444)
    return {"size_bytes": target.stat().st_size}


def _clone(source: Ext4Source, target: Path, epoch: int) -> None:
    path = source.path.path
    with RawFile(path) as blocks:
        blocks.name = blocks.place = source.path.written
        size = blocks.size_bytes
        Filesystem(blocks, now=epoch).abandon()  # says whether it is an ext4, and one that may be copied now
        read_superblock(blocks, writable=True)  # and whether a patch could ever be written into it
    wanted = source.size_bytes or size
    if wanted < size:
        raise SourceError(
            f"'{source.path.written}' has {size} bytes, and `size` allows {wanted}",
            hint="leave out `size`, or make it larger",
        )
    clone.clone(path, target)
    if wanted > size:
        check(target, source.path.written)  # preening would mend some errors without a word
        disks.grow(target, wanted, epoch)


def check(target: Path, written: str) -> None:
    """Have e2fsck judge an image, once, when it is made.

    Raises:
        FilesystemError: it has errors, or such that e2fsck itself does not get to an end.
    """
    find("e2fsck")
    try:
        checked = run(tools.e2fsck_read_only(target, size_bytes=target.stat().st_size))
    except ToolError as err:
        raise FilesystemError(
            f"the filesystem in '{written}' can't be checked",
            details=_beginning(f"{err.brief}\n{err.details or ''}".replace(str(target), written)),
            hint=f"e2fsck -f '{written}'",
        ) from err
    if checked.code != 0:
        raise FilesystemError(
            f"the filesystem in '{written}' has errors",
            details=_beginning(checked.output.replace(str(target), written)),
            hint=f"e2fsck -f '{written}'",
        )


def _beginning(text: str) -> str:
    """As much as somebody reads; e2fsck can say a million bytes."""
    lines = [line[:SHOWN_COLUMNS] for line in text.strip().splitlines()]
    left = len(lines) - SHOWN_LINES
    return "\n".join(lines[:SHOWN_LINES] + ([f"... {left} more lines"] if left > 0 else []))


@dataclass(frozen=True)
class Tree:
    """A source of entries that can be walked more than once."""

    written: str
    """What messages call it."""
    size_bytes: int | None
    """Of the filesystem; None: what the content needs, and headroom."""
    entries: Callable[[], AbstractContextManager[Iterator[Entry]]]
    inodes: int | None = None
    """How many a filesystem of that size must have at least; None: as many as are usual."""


def source_tree(source: TarSource | DirectorySource, adapt: Adapt, epoch: int) -> Tree:
    """A tarball or directory as a tree, adapted on the way."""
    path, written = source.path.path, source.path.written

    @contextmanager
    def entries() -> Iterator[Iterator[Entry]]:
        if isinstance(source, TarSource):
            with open_archive(path, written=written) as stream:
                yield adapt(stream)
        else:
            rules = TreeRules(keep_owner=source.keep_owner, mtime_s=epoch)
            yield adapt(walk_directory(path, rules, written=written))

    return Tree(written, source.size_bytes, entries)


def fill(tree: Tree, target: Path, workspace: Workspace, *, label: str = "") -> None:
    """Write a tree into a fresh ext4 at `target`, which does not exist."""
    disks.make_empty(target, replace(_geometry(tree), label=label), workspace)
    with tree.entries() as entries, RawFile(target, writable=True, durable=False) as blocks:
        blocks.name = f"image of {tree.written}"  # its place in staging says nothing to a user
        with Filesystem(blocks, writable=True, now=workspace.epoch) as filesystem:
            _populate(filesystem, entries, tree)


def _populate(filesystem: Filesystem, entries: Iterator[Entry], tree: Tree) -> None:
    try:
        populate(filesystem, entries)
    except FilesystemError as err:
        if tree.size_bytes is None:
            raise
        hint = "make `size` larger, or leave it out"
        raise FilesystemError(err.brief, details=err.details, hint=err.hint or hint, code=err.code) from err


def _geometry(tree: Tree) -> tools.Geometry:
    if tree.size_bytes is not None:
        if tree.size_bytes < LEAST_BYTES:
            raise SourceError(
                f"'{tree.written}' does not fit in {tree.size_bytes} bytes",
                hint="make `size` larger, or leave it out",
            )
        return tools.Geometry(tree.size_bytes // tools.BLOCK_BYTES * tools.BLOCK_BYTES, tree.inodes)
    with tree.entries() as entries:
        return needed(measure(entries))


def needed(totals: Totals) -> tools.Geometry:
    """The size that content needs, plus a quarter and 64 MiB, in steps of 16 MiB; and its inodes likewise."""
    inodes = totals.inodes + totals.inodes // 4 + 1024
    content = totals.bytes + inodes * BYTES_PER_INODE
    wanted = content + content // 4 + JOURNAL_BYTES + HEADROOM_BYTES
    size = -(-wanted // SIZE_STEP_BYTES) * SIZE_STEP_BYTES
    return tools.Geometry(size, inodes=max(inodes, size // 16384))
