"""Whether a killed guest left a journal to replay, and e2fsck replaying it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.unreplayed import is_replayed, run_e2fsck
from bangerbuild.errors import FilesystemError, JournalError
from tests.disk.ext4_tools import NOW, assert_clean, change_superblock, debugfs
from tests.disk.journals import FAST_COMMIT, Form, Log
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def written(disk: Path) -> Path:
    """A disk with a file of one block."""
    with as_guest(disk) as filesystem:
        filesystem.write_file("/f", b"o" * 4096)
    return disk


def block(disk: Path) -> int:
    """The block of that file."""
    return int(debugfs(disk, "bmap /f 0"))


def is_done(disk: Path) -> bool:
    with RawFile(disk) as blocks:
        return is_replayed(blocks)


def replay(disk: Path) -> None:
    with RawFile(disk) as blocks:
        blocks.name = "vms/web/work.ext4"
        run_e2fsck(disk, blocks, NOW)


def test_a_disk_that_was_unmounted_has_nothing_to_replay(written: Path) -> None:
    assert is_done(written)


def test_what_a_killed_guest_left_is_replayed_by_e2fsck(written: Path) -> None:
    Log(written).add({block(written): b"n" * 4096})
    assert not is_done(written)
    replay(written)
    assert is_done(written)
    assert_clean(written)
    assert debugfs(written, "cat /f") == b"n" * 4096


def test_a_damaged_journal_is_told_before_e2fsck_would_throw_it_away(written: Path) -> None:
    log = Log(written)
    log.add({block(written): b"n" * 4096})
    log.superblock(x4=2)
    before = written.read_bytes()
    with pytest.raises(JournalError, match="it has no superblock") as caught:
        is_done(written)
    assert str(caught.value.hint).startswith("e2fsck -f ")
    assert written.read_bytes() == before


def test_a_journal_that_only_e2fsck_knows_is_left_to_it(written: Path) -> None:
    log = Log(written, Form(incompat=FAST_COMMIT, fast_commit_blocks=500))
    log.add({block(written): b"n" * 4096})
    assert not is_done(written)


def test_a_disk_with_errors_is_no_question_of_its_journal(written: Path) -> None:
    change_superblock(written, state=2)
    with pytest.raises(FilesystemError, match="is marked as having errors"):
        is_done(written)


def test_what_e2fsck_would_not_do_unasked_is_told_by_the_disks_name(written: Path) -> None:
    with written.open("r+b") as file:
        file.truncate(1 << 20)
    with pytest.raises(FilesystemError) as caught:
        replay(written)
    assert caught.value.brief == "the journal of 'vms/web/work.ext4' can't be replayed"
    assert str(written) not in str(caught.value.details)
