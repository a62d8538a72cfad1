"""How an image source becomes an ext4 file: what every image step shares.

A tarball or directory is written into a fresh ext4; an ext4 file is cloned as it is. Whatever comes out is
judged by `e2fsck -fn` once, here, because libext2fs opens and writes many a damaged image without a word.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk import clone, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.model import Source
from bangerbuild.process import run
from bangerbuild.sources.archive import open_archive
from bangerbuild.sources.directory import walk_directory
from bangerbuild.sources.hostentry import TreeRules
from bangerbuild.sources.totals import measure
from bangerbuild.spec import DirectorySource, Ext4Source, TarSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.model import Json, Workspace
    from bangerbuild.sources.totals import Totals
    from bangerbuild.spec import ImageSource
    from bangerbuild.tree import Entry

WORDS: Mapping[type, str] = {TarSource: "tar", DirectorySource: "directory", Ext4Source: "ext4"}
TOOLS = ("e2fsprogs", "libext2fs", "SOURCE_DATE_EPOCH")
MIB = 1 << 20
JOURNAL_BYTES = 64 * MIB
"""The most that mke2fs takes for the journal of a filesystem of the sizes in question."""
LEAST_BYTES = MIB
"""Below, mke2fs has no room for its own tables."""
HEADROOM_BYTES = 64 * MIB
SIZE_STEP_BYTES = 16 * MIB
BYTES_PER_INODE = 256


def host_source(table: str, source: ImageSource) -> Source:
    """What is read on the host, under a role that tells the sort of source: `rootfs.tar`."""
    rules = TreeRules(keep_owner=source.keep_owner) if isinstance(source, DirectorySource) else None
    return Source(f"{table}.{WORDS[type(source)]}", source.path.path, source.path.written, rules)


def build(source: ImageSource, target: Path, workspace: Workspace) -> Mapping[str, Json]:
    """Write the image to `target`, which does not exist; facts to remember.

    Raises:
        SourceError: the source can't be read, or holds what can't be taken.
        FilesystemError: the image has errors, or its content does not fit.
    """
    if isinstance(source, Ext4Source):
        _clone(source, target, workspace.epoch)
    else:
        _fill(source, target, workspace)
    _check(source, target)
    target.chmod(0o444)
    return {"size_bytes": target.stat().st_size}


def _clone(source: Ext4Source, target: Path, epoch: int) -> None:
    path = source.path.path
    with RawFile(path) as blocks:
        blocks.name, size = source.path.written, blocks.size_bytes
        Filesystem(blocks, now=epoch).abandon()  # says whether it is an ext4, and one that may be copied now
    wanted = source.size_bytes or size
    if wanted < size:
        raise SourceError(
            f"'{source.path.written}' has {size} bytes, and `size` allows {wanted}",
            hint="leave out `size`, or make it larger",
        )
    clone.clone(path, target)
    if wanted > size:
        _check(source, target)  # preening would mend some errors without a word
        run(tools.e2fsck_preen(target, epoch=epoch))
        os.truncate(target, wanted)
        run(tools.resize2fs(target, size_bytes=wanted, epoch=epoch))


def _check(source: ImageSource, target: Path) -> None:
    checked = run(tools.e2fsck_read_only(target, size_bytes=target.stat().st_size))
    if checked.code != 0:
        raise FilesystemError(
            f"the filesystem in '{source.path.written}' has errors",
            details=checked.output.replace(str(target), source.path.written).strip(),
            hint=f"e2fsck -f '{source.path.written}'" if isinstance(source, Ext4Source) else None,
        )


@contextmanager
def _entries(source: TarSource | DirectorySource, epoch: int) -> Iterator[Iterator[Entry]]:
    if isinstance(source, TarSource):
        with open_archive(source.path.path, written=source.path.written) as entries:
            yield entries
    else:
        rules = TreeRules(keep_owner=source.keep_owner, mtime_s=epoch)
        yield walk_directory(source.path.path, rules, written=source.path.written)


def _fill(source: TarSource | DirectorySource, target: Path, workspace: Workspace) -> None:
    skeleton = workspace.staging / "skeleton.ext4"
    geometry = _geometry(source, workspace.epoch)
    run(tools.mke2fs(skeleton, geometry, fingerprint=workspace.fingerprint, epoch=workspace.epoch))
    # mke2fs leaves zeroed ranges allocated; a sparse copy of the few blocks it wrote leaves them behind.
    clone.sparse_copy(skeleton, target)
    skeleton.unlink()
    with (
        _entries(source, workspace.epoch) as entries,
        RawFile(target, writable=True, durable=False) as blocks,
    ):
        blocks.name = f"image of {source.path.written}"  # its place in staging says nothing to a user
        with Filesystem(blocks, writable=True, now=workspace.epoch) as filesystem:
            _populate(filesystem, entries, source)


def _populate(filesystem: Filesystem, entries: Iterator[Entry], source: TarSource | DirectorySource) -> None:
    try:
        populate(filesystem, entries)
    except FilesystemError as err:
        if source.size_bytes is None:
            raise
        hint = "make `size` larger, or leave it out"
        raise FilesystemError(err.brief, details=err.details, hint=err.hint or hint, code=err.code) from err


def _geometry(source: TarSource | DirectorySource, epoch: int) -> tools.Geometry:
    if source.size_bytes is not None:
        if source.size_bytes < LEAST_BYTES:
            raise SourceError(
                f"'{source.path.written}' does not fit in {source.size_bytes} bytes",
                hint="make `size` larger, or leave it out",
            )
        return tools.Geometry(source.size_bytes // tools.BLOCK_BYTES * tools.BLOCK_BYTES)
    with _entries(source, epoch) as entries:
        return needed(measure(entries))


def needed(totals: Totals) -> tools.Geometry:
    """The size that content needs, plus a quarter and 64 MiB, in steps of 16 MiB; and its inodes likewise."""
    inodes = totals.inodes + totals.inodes // 4 + 1024
    content = totals.bytes + inodes * BYTES_PER_INODE
    wanted = content + content // 4 + JOURNAL_BYTES + HEADROOM_BYTES
    size = -(-wanted // SIZE_STEP_BYTES) * SIZE_STEP_BYTES
    return tools.Geometry(size, inodes=max(inodes, size // 16384))
