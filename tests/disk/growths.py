"""Disks whose growth goes wrong: resize2fs is killed at its nth write, or one of its writes fails."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import growing, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.host.process import run
from tests.disk.ext4_tools import NOW, make_ext4
from tests.disk.faults import Killed
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.host.process import Command

MIB = 1 << 20
EPOCH = 946_684_800


@dataclass(frozen=True)
class Growth:
    """A filesystem, and how large it shall be."""

    name: str
    options: tuple[str, ...]
    old: str
    new_bytes: int


PLAIN = Growth("plain", (), "16M", 200 * MIB)
GROWTHS = (
    PLAIN,
    Growth("without a reserve, so that blocks move", ("-O", "^resize_inode"), "16M", 9000 * MIB),
    Growth("with a reserve that is too small", ("-E", "resize=32768"), "16M", 9000 * MIB),
    Growth("32 bit without checksums", ("-O", "^64bit,^metadata_csum"), "16M", 300 * MIB),
    Growth("without flexible groups", ("-O", "^flex_bg"), "16M", 300 * MIB),
    Growth("meta block groups", ("-O", "meta_bg,^resize_inode"), "16M", 300 * MIB),
)


def made(path: Path, growth: Growth) -> Path:
    """The filesystem with some files in it, checked just now, as a growth finds it."""
    make_ext4(path, *growth.options, size=growth.old)
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        for number in range(30):
            disk.write_file(f"/d{number % 3}/f{number}", bytes([number]) * (1000 + number * 3000))
    run(tools.e2fsck_preen(path, epoch=EPOCH))
    return path


def grow_tampered(path: Path, growth: Growth, *strace: str) -> None:
    """Grow a disk with a resize2fs that strace tampers with."""
    resize2fs = tools.resize2fs

    def traced(*args: Path, size_bytes: int, epoch: int, undo: Path) -> Command:
        command = resize2fs(*args, size_bytes=size_bytes, epoch=epoch, undo=undo)
        own = need("strace"), "-f", "-o", "/dev/null", "-e", "trace=pwrite64,write", *strace
        return replace(command, argv=(*own, need(command.argv[0]), *command.argv[1:]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tools, "resize2fs", traced)
        growing.grow(path, "disk", growth.new_bytes, epoch=EPOCH)


def _all_killed(*_: object) -> None:
    raise Killed


def grow_killed(path: Path, growth: Growth, at: int, call: str = "pwrite64") -> bool:
    """Grow a disk, all killed at the nth write of a block; False if it does not come to that.

    What resize2fs writes into the superblock is `write` to the kernel, and so is what it prints.
    """
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(growing, "roll_back", _all_killed)
        grow_tampered(path, growth, "-e", f"inject={call}:signal=KILL:when={at}")
        return False
    return True


def writes_of(path: Path, growth: Growth) -> int:
    """How many writes of a block it takes resize2fs to grow a disk, which is grown then."""
    trace = path.with_name("trace")
    grow_tampered(path, growth, "-o", str(trace), "-e", "trace=pwrite64")
    return trace.read_text().count("pwrite64(")


def undone_by_e2undo(path: Path, size_bytes: int) -> None:
    """Undo a growth with the program of e2fsprogs instead of ours."""
    e2undo = need("e2undo", "e2fsprogs")
    subprocess.run([e2undo, "-f", growing.undo_beside(path), path], capture_output=True, check=False)
    with path.open("r+b") as file:
        file.truncate(size_bytes)
