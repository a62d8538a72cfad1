"""Libext2fs reads and writes damaged disks in our own process: what would end it must be noticed before."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import PROJECT
from tests.hostile.damage import make_target
from tests.hostile.running import MOST_MIB

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "with checksums": (),
    "without checksums": ("-O", "^metadata_csum"),
    "blocks of 1 KiB": ("-O", "^metadata_csum,^has_journal", "-b", "1024"),
    "block maps": ("-t", "ext2", "-b", "1024"),
    "data in inodes": ("-O", "^metadata_csum,inline_data,ea_inode"),
    "clusters": ("-O", "^metadata_csum,bigalloc", "-C", "16384"),
}
DAMAGES = 110


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_ends_the_process_or_goes_on_for_ever(kind: str, tmp_path: Path) -> None:
    disk = make_target(tmp_path / "target.ext4", *KINDS[kind])
    command = [sys.executable, "-m", "tests.hostile.campaign", str(disk), "0", str(DAMAGES)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout[-200:], done.stderr[-5000:])
    assert done.stderr == ""  # libext2fs has nothing to say of its own
    *numbers, peak = done.stdout.splitlines()
    assert len(numbers) == DAMAGES
    assert int(peak.removeprefix("peak MiB ")) < MOST_MIB
