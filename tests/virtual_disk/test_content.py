"""What is in a partition, told from filesystems that their own programs made."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError
from bangerbuild.virtual_disk.content import Content, Slice, content_of, is_root, part_of
from bangerbuild.virtual_disk.table import Partition
from tests.need import need
from tests.virtual_disk.making import MIB, ROOT_X86_64, fat, filesystem

if TYPE_CHECKING:
    from pathlib import Path

UUID = "11111111-2222-3333-4444-555555555555"
MAKERS: dict[str, tuple[str, ...]] = {
    "XFS": ("mkfs.xfs", "-q", "-m", f"uuid={UUID}", "-L", "one"),
    "btrfs": ("mkfs.btrfs", "-q", "-U", UUID, "-L", "one"),
    "swap": ("mkswap", "-q"),
    "LUKS": ("cryptsetup", "-q", "--key-file=/dev/zero", "--keyfile-size=8", "--pbkdf-force-iterations=1000"),
}
PACKAGES = {
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "mkswap": "util-linux",
    "cryptsetup": "cryptsetup-bin",
}


def made(path: Path, kind: str) -> Path:
    """A filesystem, or what else there is, made by its own program."""
    path.write_bytes(b"")
    os.truncate(path, 320 * MIB)
    program, *options = MAKERS[kind]
    more = ["--pbkdf=pbkdf2", "luksFormat"] if kind == "LUKS" else []
    subprocess.run([need(program, PACKAGES[program]), *options, *more, path], check=True, capture_output=True)
    return path


def look(path: Path, kind: str = "") -> Content:
    """What a file holds, as if it were a partition."""
    with RawFile(path) as blocks:
        return content_of(Partition(1, 0, blocks.size_bytes, kind), blocks)


@pytest.mark.parametrize(("kind", "label"), [("XFS", "one"), ("btrfs", "one"), ("swap", ""), ("LUKS", "")])
def test_what_can_not_be_taken_is_told_by_name(tmp_path: Path, kind: str, label: str) -> None:
    found = look(made(tmp_path / "disk", kind))
    assert (found.filesystem, found.label, found.is_ext) == (kind, label, False)
    assert found.uuid == (UUID if label else "")
    assert kind in found.what


def test_a_fat_has_its_label(tmp_path: Path) -> None:
    assert look(fat(tmp_path / "esp", 64)).filesystem == "FAT"


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_an_ext_filesystem_has_label_uuid_and_its_own_size(tmp_path: Path, kind: str) -> None:
    path = filesystem(tmp_path / "disk", {}, "-t", kind, size="8M", label="one")
    os.truncate(path, 16 * MIB)
    found = look(path)
    assert (found.filesystem, found.label, found.uuid, found.size_bytes) == ("ext4", "one", UUID, 8 * MIB)


def test_a_partition_is_one_line_for_people(root: Path) -> None:
    assert str(look(root, ROOT_X86_64.lower())) == "1: ext4 'cloudimg-rootfs', 24 MiB, Linux root (x86-64)"


def test_nothing_is_known_of_what_is_no_filesystem(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    assert str(look(tmp_path / "disk")) == "1: unknown, 512 bytes"


def test_a_root_holds_etc_and_an_init_that_may_be_a_link_to_nowhere(
    tmp_path: Path, root: Path, data: Path
) -> None:
    linked = tmp_path / "linked.tree"
    (linked / "etc").mkdir(parents=True)
    (linked / "sbin").mkdir()
    (linked / "sbin/init").symlink_to("/nix/store/x/init")
    outside = filesystem(tmp_path / "other", {"etc/fstab": ""})
    subprocess.run([need("debugfs"), "-w", "-R", "mkdir sbin", outside], check=True, capture_output=True)
    assert not is_a_root(outside)
    link = "symlink sbin/init /nix/store/x/init"
    subprocess.run([need("debugfs"), "-w", "-R", link, outside], check=True, capture_output=True)
    assert [is_a_root(path) for path in (root, data, outside)] == [True, False, True]


def is_a_root(path: Path) -> bool:
    found = look(path)
    with RawFile(path) as blocks:
        return is_root(found, blocks)


def test_a_filesystem_that_can_not_be_opened_is_no_root(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(root.read_bytes()[:1100] + b"\xff" * 900 + bytes(MIB))
    assert not is_a_root(path)


def test_a_slice_ends_where_its_partition_does_and_is_never_written(root: Path) -> None:
    with RawFile(root) as blocks:
        part = Slice(blocks, 1024, 2048, "part")
        assert part.read(0, 2048) == root.read_bytes()[1024 : 1024 + 2048]
        with pytest.raises(FilesystemError, match="'part' ends before byte 2049"):
            part.read(1, 2048)
        with pytest.raises(FilesystemError, match="reading only"):
            part.write(0, b"x")
        part.flush()
        assert part_of(look(root), blocks).size_bytes == root.stat().st_size
