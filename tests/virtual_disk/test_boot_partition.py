"""A /boot of its own: told by the fstab of the root, its type, its kernel; copied with its attributes."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError
from bangerbuild.virtual_disk.boot_partition import find, merge
from bangerbuild.virtual_disk.opening import contents, opened
from tests.disk.ext4_tools import NOW, assert_clean, debugfs
from tests.need import need
from tests.projects import Disk
from tests.virtual_disk.making import BOOT, EFI, LINUX, MIB, XBOOTLDR, Part, disk, fat, filesystem

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = {"etc/fstab": "", "sbin/init": "", "boot/efi/.keep": ""}


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A boot filesystem."""
    path = tmp_path_factory.mktemp("boot") / "boot"
    return filesystem(path, BOOT, "-U", "random", size="16M", label="BOOT")


def found(tmp_path: Path, files: dict[str, str], *others: Part) -> int | None:
    """The number of the partition that is the /boot of a root with these files, which is number 1."""
    root = filesystem(tmp_path / "root", files)
    path = disk(tmp_path / "disk", [Part(24, LINUX, root), *others], mib=128)
    with opened(path, "disk") as (blocks, room):
        parts = contents(blocks, room)
        one = find(parts, parts[0], blocks, root)
    return one.partition.number if one else None


@pytest.mark.parametrize("source", ["LABEL=BOOT", 'LABEL="BOOT"', "PARTLABEL=third"])
def test_the_fstab_of_the_root_decides(tmp_path: Path, boot: Path, data: Path, source: str) -> None:
    files = EMPTY | {"etc/fstab": f"# a comment\nLABEL=x / ext4\n{source} /boot ext4 defaults 0 2\n"}
    assert found(tmp_path, files, Part(24, XBOOTLDR, data), Part(16, LINUX, boot, name="third")) == 3


def test_without_a_line_the_type_decides_and_then_a_kernel(tmp_path: Path, boot: Path, data: Path) -> None:
    (tmp_path / "a").mkdir()
    assert found(tmp_path / "a", EMPTY, Part(24, XBOOTLDR, data), Part(16, LINUX, boot)) == 2
    (tmp_path / "b").mkdir()
    assert found(tmp_path / "b", EMPTY, Part(24, LINUX, data), Part(16, LINUX, boot)) == 3


def test_the_efi_system_partition_is_the_last_choice_unless_fstab_names_it(
    tmp_path: Path, boot: Path, data: Path
) -> None:
    esp = fat(tmp_path / "esp")
    asked = [need("blkid"), "-p", "-o", "value", "-s", "UUID", str(esp)]
    serial = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    named = EMPTY | {"etc/fstab": f"UUID={serial} /boot vfat\n"}
    cases: tuple[tuple[dict[str, str], tuple[Part, ...], int | None], ...] = (
        (EMPTY, (Part(24, LINUX, data), Part(8, EFI, esp)), 3),
        (EMPTY, (Part(8, EFI, esp), Part(16, LINUX, boot)), 3),
        (named, (Part(16, XBOOTLDR, boot), Part(8, LINUX, esp)), 3),
        (EMPTY | {"boot/vmlinuz": ""}, (Part(8, EFI, esp),), None),
    )
    for number, (files, others, expected) in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        assert found(tmp_path / str(number), files, *others) == expected


@pytest.mark.parametrize("files", [EMPTY | {"boot/vmlinuz": ""}, {"etc/fstab": "", "sbin/init": ""}])
def test_a_root_with_a_boot_of_its_own_or_none_has_no_other(
    tmp_path: Path, boot: Path, files: dict[str, str]
) -> None:
    assert found(tmp_path, files, Part(16, XBOOTLDR, boot)) is None


def test_a_line_for_what_is_not_there_is_no_reason_to_take_another(
    tmp_path: Path, boot: Path, data: Path
) -> None:
    files = EMPTY | {"etc/fstab": "UUID=00000000-0000-0000-0000-000000000000 /boot ext4 defaults 0 2\n"}
    assert found(tmp_path, files, Part(16, LINUX, boot), Part(24, LINUX, data)) is None


def test_everything_is_copied_with_owners_modes_links_and_times(tmp_path: Path, boot: Path) -> None:
    source, root = tmp_path / "source", filesystem(tmp_path / "root", EMPTY)
    source.write_bytes(boot.read_bytes())
    requests = (
        "symlink vmlinuz vmlinuz-6.8.0-31-generic",
        "sif vmlinuz-6.8.0-31-generic mode 0100600",
        "sif vmlinuz-6.8.0-31-generic uid 7",
        "sif vmlinuz-6.8.0-31-generic mtime @1600000000",
        "ln vmlinuz-6.8.0-31-generic hard",
        "sif vmlinuz-6.8.0-31-generic links_count 2",
        "mknod pipe p",
    )
    for request in requests:
        subprocess.run([need("debugfs"), "-w", "-R", request, source], check=True, capture_output=True)
    merge(source, root, "boot", NOW)
    assert_clean(root)
    image = Disk(root)
    kernel = image.stat("/boot/vmlinuz-6.8.0-31-generic")
    assert (kernel.mode, kernel.owner, kernel.links, kernel.mtime) == ("0600", "7:0", 2, 1_600_000_000)
    assert image.stat("/boot/vmlinuz").target == "vmlinuz-6.8.0-31-generic"
    assert image.inode("/boot/hard") == image.inode("/boot/vmlinuz-6.8.0-31-generic")
    assert image.names("/boot") == {"efi", "grub", "hard", "vmlinuz", "vmlinuz-6.8.0-31-generic"}


def test_a_root_without_room_grows(tmp_path: Path) -> None:
    large = filesystem(tmp_path / "large", {"vmlinuz-1": "k" * (20 * MIB)}, size="32M")
    root = filesystem(tmp_path / "root", EMPTY)
    before = root.stat().st_size
    merge(large, root, "boot", NOW)
    assert_clean(root)
    assert root.stat().st_size > before
    assert len(debugfs(root, "cat boot/vmlinuz-1")) == 20 * MIB


def test_a_damaged_boot_filesystem_is_refused_by_its_name(tmp_path: Path, boot: Path) -> None:
    damaged, root = tmp_path / "damaged", filesystem(tmp_path / "root", EMPTY)
    damaged.write_bytes(boot.read_bytes())
    with damaged.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 4096, 2 * 4096)
    with pytest.raises(FilesystemError, match="partition 16 has errors"):
        merge(damaged, root, "partition 16", NOW)
    with RawFile(root) as blocks:
        assert blocks.size_bytes == 24 * MIB


def test_a_disk_of_one_filesystem_has_no_other(tmp_path: Path) -> None:
    assert found(tmp_path, EMPTY) is None
