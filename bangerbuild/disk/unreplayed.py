"""The journal that a killed guest leaves behind: whether it has to be replayed, and e2fsck replaying it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import superblock, tools
from bangerbuild.disk.journal import through_journal
from bangerbuild.errors import FilesystemError, JournalError, ToolError
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks


def is_replayed(blocks: Blocks) -> bool:
    """Whether there is nothing to replay.

    Raises:
        JournalError: the journal is damaged.
    """
    if superblock.read_superblock(blocks, writable=True, allow_unreplayed=True).is_clean:
        return True
    try:
        through_journal(blocks)
    except JournalError as err:  # `e2fsck -p` would throw it away, and with it what the guest synced last
        raise JournalError(err.brief, hint=superblock.mend_hint(blocks)) from err
    except FilesystemError:  # one of a kind that only e2fsck knows
        pass
    return False


def run_e2fsck(path: Path, disk: Blocks, epoch: int) -> None:
    """Replay the journal of a raw file, and clear its orphans.

    Args:
        path: the file.
        disk: the disk that it is, or is a copy of; named in messages.
        epoch: seconds since 1970 for what is written.

    Raises:
        FilesystemError: e2fsck won't do it unasked.
    """
    try:
        run(tools.e2fsck_replay(path, epoch=epoch, size_bytes=disk.size_bytes))
    except ToolError as err:
        raise FilesystemError(
            f"the journal of '{disk.name}' can't be replayed",
            details=(err.details or err.brief).replace(str(path), disk.name),
            hint=superblock.mend_hint(disk),
        ) from err
