from __future__ import annotations

import ctypes
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import libext2fs
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.libext2fs import channel, layouts, library, open_handle
from bangerbuild.errors import FilesystemError, LibraryError
from tests.disk.ext4_tools import NOW, debugfs
from tests.need import lacking, need

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = r"""
#include <stdio.h>
#include <stddef.h>
#include <ext2fs/ext2fs.h>
int main(void) {
    printf("%zu %zu %zu %zu\n", sizeof(struct struct_io_channel), sizeof(struct struct_io_manager),
           offsetof(struct struct_io_manager, zeroout), sizeof(struct ext2fs_extent));
    printf("%zu\n", offsetof(struct struct_ext2_filsys, now));
    printf("%zu %zu %zu\n", offsetof(struct struct_ext2_filsys, icache),
           offsetof(struct struct_ext2_filsys, image_io),
           offsetof(struct struct_ext2_filsys, cluster_ratio_bits));
    printf("%ld %ld %ld %ld %ld\n", EXT2_ET_MAGIC_IO_CHANNEL, EXT2_ET_MAGIC_IO_MANAGER, EXT2_ET_DIR_NO_SPACE,
           EXT2_ET_FILE_NOT_FOUND, EXT2_ET_MISSING_EA_FEATURE);
    return 0;
}
"""


def test_the_layouts_are_those_of_the_installed_headers(tmp_path: Path) -> None:
    (tmp_path / "layout.c").write_text(PROGRAM)
    build = [need("cc", "gcc"), "-o", str(tmp_path / "layout"), str(tmp_path / "layout.c")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if "ext2fs/ext2fs.h: No such file" in done.stderr:
        lacking("no headers of libext2fs here: apt-get install libext2fs-dev")
    assert done.returncode == 0, done.stderr
    printed = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout
    head = layouts.Filsys
    assert [int(number) for number in printed.split()] == [
        ctypes.sizeof(layouts.IoChannel),
        ctypes.sizeof(layouts.IoManager),
        layouts.IoManager.zeroout.offset,
        ctypes.sizeof(layouts.Extent),
        head.now.offset,
        head.icache.offset,
        head.image_io.offset,
        head.cluster_ratio_bits.offset,
        channel.MAGIC_IO_CHANNEL,
        channel.MAGIC_IO_MANAGER,
        library.DIR_NO_SPACE,
        library.FILE_NOT_FOUND,
        library.MISSING_EA_FEATURE,
    ]


def test_a_missing_library_names_the_package() -> None:
    with pytest.raises(LibraryError, match=r"libnone\.so\.9 can't be loaded") as caught:
        library._load("libnone.so.9", "libcom_err.so.2")
    assert caught.value.hint == "apt install e2fsprogs"


def test_a_library_without_a_function_is_too_old() -> None:
    with pytest.raises(LibraryError, match="libext2fs is too old: it has no ext2fs_open2") as caught:
        library._load("libcom_err.so.2", "libcom_err.so.2")
    assert caught.value.hint == "version 1.46 or newer: apt install e2fsprogs"


@pytest.mark.parametrize("text", ["1.45.7", "1.9", "0.5b-WIP", ""])
def test_a_version_below_1_46_is_refused(text: str) -> None:
    with pytest.raises(LibraryError, match="is too old"):
        library.check_version(text)


@pytest.mark.parametrize("text", ["1.46.5", "1.47.0", "1.47.3-rc2", "2.0"])
def test_a_version_from_1_46_on_is_taken(text: str) -> None:
    library.check_version(text)


def test_the_loaded_library_tells_its_version() -> None:
    assert libext2fs.version().startswith("1.")


def test_every_code_that_is_not_zero_is_an_error_with_the_librarys_text(disk: Path) -> None:
    with RawFile(disk) as blocks:
        handle = open_handle(blocks, writable=False, now=NOW)
        with pytest.raises(FilesystemError, match="Illegal inode number") as caught:
            handle.read_inode(1 << 30)
        handle.abandon()
    assert caught.value.code == library.CODE_BASE + 41


def test_a_disk_opened_for_reading_is_not_written_by_the_library(disk: Path) -> None:
    with RawFile(disk) as blocks:
        handle = open_handle(blocks, writable=False, now=NOW)
        raw = handle.read_inode(2)
        with pytest.raises(FilesystemError, match=r"[Rr]ead-only|read only"):
            handle.write_inode(2, raw)
        handle.abandon()


def test_no_channel_is_left_behind(disk: Path) -> None:
    before = dict(channel._channels)
    with RawFile(disk, writable=True, durable=False) as blocks:
        open_handle(blocks, writable=True, now=NOW).close()
        open_handle(blocks, writable=True, now=NOW).abandon()
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    with RawFile(disk) as blocks, pytest.raises(FilesystemError):
        open_handle(blocks, writable=False, now=NOW)
    assert channel._channels == before
    assert not channel._opening


def test_times_are_the_callers_even_where_the_environment_says_otherwise(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2FSPROGS_FAKE_TIME", "5")
    with RawFile(disk, writable=True, durable=False) as blocks:
        handle = open_handle(blocks, writable=True, now=NOW + 1)
        handle.count_inode(handle.new_inode(2, 0o100644), 1, directory=False)
        handle.close()
    written = next(
        line for line in debugfs(disk, "show_super_stats -h").decode().splitlines() if "Last write" in line
    )
    assert "Nov 14" in written
    assert "2023" in written
