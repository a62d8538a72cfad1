"""Add the guest path, the disk and a hint to errors about a guest's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk.libext2fs import EA_NO_SPACE, INODE_ALLOC_FAIL, NO_SPACE, open_handle
from bangerbuild.disk.superblock import mend_hint
from bangerbuild.errors import FilesystemError, GuestPathError

if TYPE_CHECKING:
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.libext2fs import Handle

PATH_HINT = "`bangerbuild ls -l` shows what is there; mend it in the guest or its image, or name another path"
INODES_HINT = "remove files in the guest, or give the disk a larger size: inodes grow with it"
SPACE_HINT = "make room in the guest, or give the disk a larger size"


def open_named(blocks: Blocks, *, writable: bool, now: int, bitmaps: bool | None = None) -> Handle:
    """Call `open_handle`, and name the disk in its errors."""
    try:
        return open_handle(blocks, writable=writable, now=now, bitmaps=bitmaps)
    except FilesystemError as err:
        if err.code is None:
            raise
        raise FilesystemError(
            f"cannot open '{blocks.name}': {err.brief}", hint=mend_hint(blocks), code=err.code
        ) from err


def located(err: FilesystemError, path: str, blocks: Blocks) -> FilesystemError:
    """The same error with the guest path, the disk and a hint."""
    brief = err.brief
    names_path, names_disk = f"'{path}'" in brief, f"'{blocks.name}'" in brief
    if not names_path:
        brief = f"'{path}': {brief}" if names_disk else f"'{path}' in '{blocks.name}': {brief}"
    elif not names_disk:
        brief = f"{brief}, in '{blocks.name}'"
    return type(err)(brief, details=err.details, hint=err.hint or _hint(err, blocks), code=err.code)


def _hint(err: FilesystemError, blocks: Blocks) -> str | None:
    if isinstance(err, GuestPathError):
        return PATH_HINT
    if err.code == INODE_ALLOC_FAIL:
        return INODES_HINT
    if err.code in NO_SPACE:
        return SPACE_HINT
    return None if err.code in {None, EA_NO_SPACE} else mend_hint(blocks)
