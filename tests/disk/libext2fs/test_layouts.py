"""The structures of libext2fs are those of the installed headers."""

from __future__ import annotations

import ctypes
import subprocess
from typing import TYPE_CHECKING

from bangerbuild.disk.libext2fs import channel, layouts, library
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
