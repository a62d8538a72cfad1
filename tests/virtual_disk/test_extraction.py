"""A root filesystem is written to a file of its own: its bytes, its size, its journal replayed."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.virtual_disk.extraction import Extraction
from bangerbuild.virtual_disk.opening import contents, opened
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.need import need
from tests.sources.building import Context
from tests.virtual_disk.making import BOOT, LINUX, MIB, ROOT, XBOOTLDR, Part, disk, filesystem, starts

if TYPE_CHECKING:
    from pathlib import Path


def taken(path: Path, number: int, target: Path) -> Context:
    """Take a partition, and its /boot."""
    context = Context()
    with opened(path, "disk", target.parent) as (blocks, room):
        found = contents(blocks, room)
        root = next(one for one in found if one.partition.number == number)
        extraction = Extraction(blocks, room, UnpackLimits(), path.stat().st_size, context)
        extraction.take(root, target)
        extraction.take_boot(found, root, target)
    return context


def test_the_bytes_of_the_filesystem_come_out_and_its_progress_has_a_total(
    tmp_path: Path, debian: Path, root: Path
) -> None:
    context = taken(debian, 1, tmp_path / "out")
    size = root.stat().st_size
    assert (tmp_path / "out").read_bytes() == root.read_bytes()
    assert context.told[-1] == ("disk", size, size)


def test_the_file_has_the_size_of_the_filesystem_and_not_of_its_partition(tmp_path: Path, root: Path) -> None:
    taken(disk(tmp_path / "disk", [Part(48, content=root)]), 1, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == root.read_bytes()


def test_a_filesystem_larger_than_its_partition_is_refused(tmp_path: Path, root: Path) -> None:
    path = disk(tmp_path / "disk", [Part(16)])
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), root.read_bytes()[: 4 * MIB], MIB)
    with pytest.raises(SourceError, match="says that it has 25165824 bytes, and its partition has 16777216"):
        taken(path, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_journal_of_a_machine_that_was_not_shut_down_is_replayed(tmp_path: Path) -> None:
    path = filesystem(tmp_path / "root", ROOT)
    script = tmp_path / "script"
    (tmp_path / "block").write_bytes(b"new content\n".ljust(4096, b"\0"))
    (tmp_path / "file").write_bytes(b"old content\n".ljust(4096, b"\0"))
    debug = [need("debugfs"), "-w"]
    subprocess.run([*debug, "-R", f"write {tmp_path / 'file'} note", path], check=True, capture_output=True)
    block = debugfs(path, "blocks note").decode().strip()
    script.write_text(f"jo\njw -b {block} {tmp_path / 'block'}\njc\n")
    subprocess.run([*debug, "-f", script, path], check=True, capture_output=True)
    assert debugfs(path, "cat note").startswith(b"old")
    taken(disk(tmp_path / "disk", [Part(24, content=path)]), 1, tmp_path / "out")
    assert debugfs(tmp_path / "out", "cat note").startswith(b"new")
    assert_clean(tmp_path / "out")


def test_a_filesystem_that_is_marked_as_having_errors_is_refused(tmp_path: Path, root: Path) -> None:
    path = disk(tmp_path / "disk", [Part(24, content=root)])
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<H", 3), starts(path)[1] + 1024 + 0x3A)
    with pytest.raises(FilesystemError, match="'disk' is marked as having errors"):
        taken(path, 1, tmp_path / "out")


def test_a_boot_partition_goes_into_the_boot_of_its_root(tmp_path: Path) -> None:
    files = {"etc/fstab": "LABEL=BOOT /boot ext4 defaults 0 2\n", "sbin/init": "", "boot/efi/.keep": ""}
    root = filesystem(tmp_path / "root", files)
    boot = filesystem(tmp_path / "boot", BOOT, "-U", "random", size="16M", label="BOOT")
    path = disk(tmp_path / "disk", [Part(24, LINUX, root), Part(16, XBOOTLDR, boot)])
    taken(path, 1, tmp_path / "out")
    assert_clean(tmp_path / "out")
    assert debugfs(tmp_path / "out", "cat boot/vmlinuz-6.8.0-31-generic") == b"kernel"
    assert debugfs(tmp_path / "out", "cat boot/grub/grub.cfg") == b"menu\n"
