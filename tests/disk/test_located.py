"""An error about a guest's file names the path, the disk and the way out, each once."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.libext2fs import EA_NO_SPACE, INODE_ALLOC_FAIL
from bangerbuild.disk.libext2fs.library import BLOCK_ALLOC_FAIL
from bangerbuild.disk.located import INODES_HINT, PATH_HINT, SPACE_HINT, located, open_named
from bangerbuild.errors import FilesystemError, GuestPathError
from tests.disk.ext4_tools import NOW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("brief", "said"),
    [
        ("is damaged", "'/etc/motd' in '{disk}': is damaged"),
        ("'/etc/motd' is damaged", "'/etc/motd' is damaged, in '{disk}'"),
        ("'{disk}' is damaged", "'/etc/motd': '{disk}' is damaged"),
        ("'/etc/motd' in '{disk}' is damaged", "'/etc/motd' in '{disk}' is damaged"),
    ],
)
def test_path_and_disk_are_named_once(disk: Path, brief: str, said: str) -> None:
    with RawFile(disk) as blocks:
        error = located(FilesystemError(brief.format(disk=disk)), "/etc/motd", blocks)
    assert error.brief == said.format(disk=disk)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (GuestPathError("x"), PATH_HINT),
        (FilesystemError("x", code=errno.ENOSPC), SPACE_HINT),
        (FilesystemError("x", code=BLOCK_ALLOC_FAIL), SPACE_HINT),
        (FilesystemError("x", code=INODE_ALLOC_FAIL), INODES_HINT),
        (FilesystemError("x", code=EA_NO_SPACE), None),
        (FilesystemError("x"), None),
        (FilesystemError("x", code=1), "e2fsck -f '{disk}'"),
        (FilesystemError("x", code=1, hint="its own"), "its own"),
    ],
)
def test_the_hint_is_the_errors_own_or_that_for_its_code(
    disk: Path, error: FilesystemError, hint: str | None
) -> None:
    with RawFile(disk) as blocks:
        found = located(error, "/a", blocks)
    assert type(found) is type(error)
    assert found.hint == (hint and hint.format(disk=disk))


def test_a_filesystem_that_libext2fs_does_not_open_is_named(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(1024 + 0x78)
        file.write(b"another label")  # the checksum is that of the old one
    with RawFile(disk) as blocks, pytest.raises(FilesystemError, match=f"^cannot open '{disk}': ") as caught:
        open_named(blocks, writable=False, now=NOW)
    assert caught.value.code
