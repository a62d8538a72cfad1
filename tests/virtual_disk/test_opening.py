"""Files of disks are opened as what they are, and what must not be opened is not."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.virtual_disk.opening import contents, is_cd, opened
from bangerbuild.virtual_disk.qemu_disk import QemuDisk
from bangerbuild.virtual_disk.raw_disk import RawDisk
from tests.need import need
from tests.virtual_disk.making import MIB, converted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk", "vhdx", "vdi", "vpc"])
def test_a_disk_has_the_same_partitions_in_every_format(tmp_path: Path, debian: Path, form: str) -> None:
    path = converted(debian, tmp_path / "disk", form)
    with opened(path, "disk", tmp_path) as (disk, room):
        assert isinstance(disk, RawDisk if form == "raw" else QemuDisk)
        found = contents(disk, room)
    assert [(one.partition.number, one.filesystem) for one in found] == [(1, "ext4"), (14, ""), (15, "FAT")]
    assert not room.exists()


def test_a_file_that_names_another_is_refused_before_any_program_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "over.qcow2"
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-u", "-f", "qcow2", "-F", "raw"]
    subprocess.run([*command, "-b", "/etc/shadow", path, "8M"], check=True)
    monkeypatch.setattr("bangerbuild.virtual_disk.qemu_disk.run", pytest.fail)
    with (
        pytest.raises(SourceError, match="differs from its backing file, '/etc/shadow'"),
        opened(path, "disk"),
    ):
        pass


def test_a_raw_disk_whose_guest_wrote_a_qcow2_header_is_no_way_out(tmp_path: Path, debian: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(8) + debian.read_bytes()[16:])
    with pytest.raises(SourceError), opened(path, "disk") as (disk, room):
        contents(disk, room)


def test_a_cd_is_refused_although_it_has_a_partition_table(tmp_path: Path, debian: Path) -> None:
    image = bytearray(debian.read_bytes()[:MIB])
    image[0x8001:0x8006] = b"CD001"
    (tmp_path / "cd.iso").write_bytes(image)
    assert is_cd(bytes(image))
    with pytest.raises(SourceError, match=r"'cd\.iso' is a CD image"), opened(tmp_path / "cd.iso", "cd.iso"):
        pass
