"""The kinds of source that are one file: no file is of two kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats import signatures
from bangerbuild.sources import FILESYSTEMS
from bangerbuild.sources.file_kinds import FILE_KINDS
from tests.disk.ext4_tools import make_ext4
from tests.formats.cpiomaking import make_squashfs, write_cpio
from tests.projects import DEBIAN, write_tar

if TYPE_CHECKING:
    from pathlib import Path


def test_each_is_a_kind_of_filesystem_under_its_own_word() -> None:
    assert {word: kind.word for word, kind in FILE_KINDS.items()} == {word: word for word in FILE_KINDS}
    assert FILE_KINDS.items() <= FILESYSTEMS.items()


@pytest.mark.parametrize("word", FILE_KINDS)
def test_a_file_is_of_one_kind_only(tmp_path: Path, word: str) -> None:
    mbr = bytes(446) + b"\0\0\0\0\x83\0\0\0" + b"\1\0\0\0" * 2 + bytes(48) + b"\x55\xaa"
    (tmp_path / "disk.raw").write_bytes(mbr)
    (tmp_path / "tree").mkdir()
    files = {
        "disk_image": tmp_path / "disk.raw",
        "tar": write_tar(tmp_path / "root.tar", DEBIAN),
        "ext4": make_ext4(tmp_path / "disk.ext4", size="8M"),
        "cpio": write_cpio(tmp_path / "root.cpio", b"etc/motd", b"hello"),
        "squashfs": make_squashfs(tmp_path / "tree", tmp_path / "root.squashfs"),
    }
    head = files[word].read_bytes()[: signatures.HEAD_BYTES]
    assert [name for name, kind in FILE_KINDS.items() if kind.recognises(head)] == [word]


@pytest.mark.parametrize("head", [b"", b"\0", bytes(signatures.HEAD_BYTES), b"\xff" * signatures.HEAD_BYTES])
def test_a_file_of_nothing_is_of_no_kind(head: bytes) -> None:
    assert not [name for name, kind in FILE_KINDS.items() if kind.recognises(head)]
