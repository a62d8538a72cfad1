"""Files of FAT filesystems: listed, copied, and no more of them than there can be."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError, ToolError
from bangerbuild.host import process
from bangerbuild.tree import EntryType
from bangerbuild.virtual_disk import fat
from tests.disk.ext4_tools import NOW
from tests.virtual_disk.making import fat as made

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"EFI/BOOT/BOOTX64.EFI": "loader", "EFI/Linux/\N{LATIN SMALL LETTER AE} 1.efi": "unified", "a": ""}


def test_all_files_are_copied_as_roots_and_of_one_time(tmp_path: Path) -> None:
    fat.files_of(made(tmp_path / "esp", files=FILES), "the ESP").copy(tmp_path / "files")
    found = {
        entry.path: (entry.content.read().decode(), entry.mode, entry.uid, entry.mtime_ns)
        for entry in fat.walk(tmp_path / "files", "the ESP", NOW)
        if entry.type is EntryType.FILE and entry.content is not None
    }
    assert found == {name: (text, 0o644, 0, NOW * 10**9) for name, text in FILES.items()}


@pytest.mark.parametrize(
    ("name", "is_kernel"),
    [
        ("vmlinuz-6.1.0-1-amd64", True),
        ("0123/6.1/linux", True),
        ("kernel8.img", True),
        ("EFI/BOOT/BOOTX64.EFI", False),
        ("linux/readme", False),
    ],
)
def test_a_kernel_is_told_by_its_name_wherever_it_lies(tmp_path: Path, name: str, is_kernel: bool) -> None:  # noqa: FBT001
    assert fat.files_of(made(tmp_path / "esp", files={name: ""}), "the ESP").hold_kernel is is_kernel


def test_an_empty_one_holds_nothing(tmp_path: Path) -> None:
    fat.files_of(made(tmp_path / "esp"), "the ESP").copy(tmp_path / "files")
    assert [entry.path for entry in fat.walk(tmp_path / "files", "the ESP", NOW)] == [""]


def test_what_is_none_is_one_plain_error(tmp_path: Path) -> None:
    (tmp_path / "esp").write_bytes(b"no FAT" * 1000)
    with pytest.raises(SourceError, match=r"^the ESP can't be read as a FAT filesystem$"):
        fat.files_of(tmp_path / "esp", "the ESP")


def test_a_directory_that_is_in_itself_ends(tmp_path: Path) -> None:
    """Its own first cluster is written into the entry of the directory below it."""
    path = made(tmp_path / "esp", files={"UP/DOWN/x": "text"})
    data = bytearray(path.read_bytes())
    up, down = (data.index(name.ljust(11)) for name in (b"UP", b"DOWN"))
    data[down + 26 : down + 28] = data[up + 26 : up + 28]
    path.write_bytes(data)
    with pytest.raises((SourceError, ToolError)):
        fat.files_of(path, "the ESP").copy(tmp_path / "files")


def test_a_file_that_says_it_is_longer_than_the_filesystem_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "esp", files={"LONG": "text"})
    data = bytearray(path.read_bytes())
    entry = data.index(b"LONG".ljust(11))
    struct.pack_into("<I", data, entry + 28, 1 << 31)
    path.write_bytes(data)
    try:
        fat.files_of(path, "the ESP").copy(tmp_path / "files")
    except SourceError:
        return
    assert (tmp_path / "files/LONG").stat().st_size <= path.stat().st_size


def test_without_mtools_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "esp")
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        fat.files_of(path, "the ESP")
    assert caught.value.hint == "apt install mtools"
