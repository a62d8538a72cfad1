"""How an image source becomes an ext4 file: what every image step shares.

A tree is written into a fresh ext4; a filesystem is cloned as it is. Whatever comes out is judged by
`e2fsck -fn` once, here, because libext2fs opens and writes many a damaged image without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import checking, clone, making, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, SourceError, ToolError
from bangerbuild.host.process import find, run
from bangerbuild.sources.source import EntryTree
from bangerbuild.steps import image_content, image_files
from bangerbuild.steps.image_tree import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.superblock import Superblock
    from bangerbuild.model import Json, Workspace
    from bangerbuild.sources.source import DiskImage, ImageSource
    from bangerbuild.steps.image_content import Adapt
    from bangerbuild.steps.image_files import Files

TOOLS = ("e2fsprogs", "libext2fs", "SOURCE_DATE_EPOCH")
PAGE_BYTES = 4096
"""Of memory, under x86: Linux mounts no ext4 with larger blocks."""
SHOWN_LINES = 20
SHOWN_COLUMNS = 200


def build(  # noqa: PLR0913 - independent choices, each by its name
    source: ImageSource,
    target: Path,
    workspace: Workspace,
    *,
    label: str = "",
    adapt: Adapt = image_content.as_is,
    files: Files = image_files.NONE,
    oddities: Callable[[Stat], Iterable[str]],
    is_root: bool = False,
) -> Mapping[str, Json]:
    """Write the image to `target`, which does not exist; facts to remember.

    Args:
        source: a tree, or an ext4.
        target: the file to be made.
        workspace: of the step.
        label: what the filesystem is called; empty: as the source has it.
        adapt: what becomes of a tree's entries on the way.
        files: what is written into it then.
        oddities: what there is to warn of in its top.
        is_root: whether a machine takes it for its root.

    Raises:
        SourceError: the source can't be had or read, or holds what can't be taken.
        FilesystemError: the image has errors, or its content does not fit.
    """
    with image_content.opened_source(source, workspace, adapt) as content:
        if isinstance(content.data, EntryTree):
            fill(content.data, target, workspace, label=label)
            is_judged = False
        else:
            is_judged = _take(content.data, target, workspace) and not label
            if label:
                run(tools.tune2fs_label(target, label, epoch=workspace.epoch))
        if is_root and image_files.look_over(target, source.written, workspace):
            is_judged = False
        added = image_files.told(content, is_root=is_root)
        more = image_files.write(files, added, target, source.written, workspace)
        is_judged = is_judged and not image_files.writes(files, added)
    if not is_judged:
        check(target, source.written)
    for oddity in oddities(_top(target)):
        workspace.warn(f"'/' in '{source.written}' {oddity}")
    target.chmod(0o444)
    return {**content.facts, **more, "source": source.written, "size_bytes": target.stat().st_size}


def _top(target: Path) -> Stat:
    with RawFile(target) as blocks, Filesystem(blocks) as disk:
        found = disk.stat("/")
    if found is None:  # pragma: no cover - e2fsck has seen it
        raise FilesystemError(f"'{target.name}' has no root directory")
    return found


def _take(image: DiskImage, target: Path, workspace: Workspace) -> bool:
    """Copy an ext4, and have e2fsck judge it before anything else reads it; whether it is still as judged."""
    path, written = image.path, image.written
    superblock, size = looked_at(image, workspace.epoch)
    if superblock.block_bytes > PAGE_BYTES:
        workspace.warn(
            f"'{written}' has blocks of {superblock.block_bytes} bytes: x86 guests, whose pages have "
            f"{PAGE_BYTES}, can't mount it; make one with `mke2fs -b {PAGE_BYTES}`"
        )
    wanted = image.size_bytes or size
    if image.is_ours:
        path.rename(target)
        target.chmod(0o600)
    else:
        clone.clone(path, target)
    check(
        target, written, image.mend
    )  # tune2fs is no judge, and preening would mend some errors without a word
    if wanted > size:
        making.grow(target, wanted, workspace.epoch)
    return wanted == size


def looked_at(image: DiskImage, epoch: int) -> tuple[Superblock, int]:
    """The superblock of a filesystem that becomes an image, and the size of its file.

    Raises:
        SourceError, FilesystemError: it is none, or can't become one.
    """
    with RawFile(image.path) as blocks:
        blocks.name = blocks.place = image.written
        size = blocks.size_bytes
        Filesystem(blocks, now=epoch).abandon()  # whether it is an ext4, and may be copied now
        superblock = read_superblock(blocks, writable=True)  # and whether a patch could be written into it
    wanted = image.size_bytes or size
    if wanted < size:
        raise SourceError(
            f"'{image.written}' has {size} bytes, and `size` allows {wanted}",
            hint="leave out `size`, or make it larger",
        )
    return superblock, size


def check(target: Path, written: str, mend: str | None = None) -> None:
    """Have e2fsck judge an image: once as it was taken, and once more if anything was written into it.

    Args:
        target: the image.
        written: what messages call what it was taken from.
        mend: how errors in that are mended; None: with e2fsck.

    Raises:
        FilesystemError: it has errors, or such that e2fsck itself does not get to an end.
    """
    find("e2fsck")
    hint = mend or f"e2fsck -f '{written}'"
    try:
        checked = run(tools.e2fsck_read_only(target, size_bytes=target.stat().st_size))
    except ToolError as err:
        raise FilesystemError(
            f"the filesystem in '{written}' can't be checked",
            details=_beginning(f"{err.brief}\n{err.details or ''}".replace(str(target), written)),
            hint=hint,
        ) from err
    if checked.code != 0 or not checking.is_clean(checked.output):
        raise FilesystemError(
            f"the filesystem in '{written}' has errors",
            details=_beginning(checked.output.replace(str(target), written)),
            hint=hint,
        )


def _beginning(output: str) -> str:
    """As much of what a program printed as a person reads; a damaged image can make it print megabytes."""
    lines = output.strip().splitlines()
    more = [f"... {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
    return "\n".join([*(line[:SHOWN_COLUMNS] for line in lines[:SHOWN_LINES]), *more])
