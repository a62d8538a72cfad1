"""Files of virtual disks by their first bytes; those that name further files are refused unread."""

from __future__ import annotations

import struct
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats import signatures
from bangerbuild.virtual_disk.containers import HEADER_BYTES, check, container_of
from tests.need import need
from tests.virtual_disk.making import MIB, converted

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {"qcow2": "qcow2", "vmdk": "VMDK", "vhdx": "VHDX", "vdi": "VDI", "vpc": "VHD"}
OUTSIDE = "/etc/shadow"


def checked(path: Path) -> None:
    """Check a file."""
    head = path.read_bytes()[:HEADER_BYTES]
    container = container_of(head)
    assert container is not None
    check(container, head, path.name)


def created(path: Path, form: str, *options: str) -> Path:
    """A new file of a format; what it stands on need not be there."""
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-f", form, *options, str(path), "8M"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def patched(path: Path, at: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_each_format_is_told_by_its_magic(tmp_path: Path, debian: Path, form: str) -> None:
    path = converted(debian, tmp_path / "disk", form)
    found = container_of(path.read_bytes()[:HEADER_BYTES])
    assert found is not None
    assert (found.name, found.driver) == (FORMS[form], form)
    checked(path)


def test_a_raw_disk_is_none_of_them(debian: Path) -> None:
    assert container_of(debian.read_bytes()[:HEADER_BYTES]) is None
    assert container_of(b"") is None


def test_older_qcow2_files_are_taken_and_the_first_version_is_not(tmp_path: Path) -> None:
    checked(created(tmp_path / "v2", "qcow2", "-o", "compat=0.10"))
    with pytest.raises(SourceError, match="'v1' is a qcow2 disk image of version 1"):
        checked(patched(created(tmp_path / "v1", "qcow2"), 4, struct.pack(">I", 1)))


def test_a_backing_file_is_refused_by_its_name_and_not_opened(tmp_path: Path) -> None:
    path = created(tmp_path / "over", "qcow2", "-u", "-b", OUTSIDE, "-F", "raw")
    with pytest.raises(
        SourceError, match=f"holds only what differs from its backing file, '{OUTSIDE}'"
    ) as got:
        checked(path)
    assert "qemu-img convert" in str(got.value.hint)


def test_data_in_another_file_is_refused(tmp_path: Path) -> None:
    options = f"data_file={tmp_path / 'data'},data_file_raw=on"
    path = created(tmp_path / "outside", "qcow2", "-o", options)
    with pytest.raises(SourceError, match="keeps its data in another file"):
        checked(path)


def test_an_encrypted_and_a_corrupt_qcow2_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="an encrypted qcow2"):
        checked(patched(created(tmp_path / "secret", "qcow2"), 32, struct.pack(">I", 2)))
    with pytest.raises(SourceError, match="marked as corrupt") as got:
        checked(patched(created(tmp_path / "corrupt", "qcow2"), 72, struct.pack(">Q", 2)))
    assert got.value.hint == "qemu-img check -r all FILE"


def test_a_vmdk_that_describes_further_files_or_has_a_parent_is_refused(tmp_path: Path) -> None:
    described = created(tmp_path / "flat", "vmdk", "-o", "subformat=monolithicFlat")
    with pytest.raises(SourceError, match="a description of a VMDK disk image"):
        checked(described)
    with pytest.raises(SourceError, match="describes further files"):
        checked(patched(created(tmp_path / "sparse", "vmdk"), 12, bytes(8)))
    text = b'# Disk DescriptorFile\nparentCID=12345678\nparentFileNameHint="/etc/shadow"\n'
    with pytest.raises(SourceError, match="differs from its parent"):
        checked(patched(created(tmp_path / "child", "vmdk"), 512, text))


def test_a_vhd_that_stands_on_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'diff' is a VHD disk image that holds only what differs"):
        checked(patched(created(tmp_path / "diff", "vpc"), 60, struct.pack(">I", 4)))


@pytest.mark.parametrize("length", [4, 60, 80, 600])
@pytest.mark.parametrize("magic", [b"QFI\xfb", b"KDMV", b"conectix"])
def test_a_file_that_ends_in_its_header_is_no_bug(magic: bytes, length: int) -> None:
    head = magic.ljust(length, b"\xff")
    container = container_of(head)
    assert container is not None
    with suppress(SourceError):
        check(container, head, "short")


def test_a_disk_may_be_larger_than_its_file(tmp_path: Path) -> None:
    path = created(tmp_path / "large", "qcow2")
    checked(path)
    assert path.stat().st_size < MIB


@pytest.mark.parametrize(("form", "name"), [("qed", "QED"), ("parallels", "Parallels")])
def test_a_format_that_is_not_read_is_refused_with_its_conversion(
    tmp_path: Path, form: str, name: str
) -> None:
    with pytest.raises(SourceError, match=f"is a {name} disk image") as caught:
        checked(created(tmp_path / "disk", form))
    assert str(caught.value.hint).startswith(f"`qemu-img convert -f {form} -O qcow2 FILE NEW`")
    assert signatures.described((tmp_path / "disk").read_bytes()[:HEADER_BYTES]).name == name
