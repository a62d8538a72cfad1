"""A tree that holds every odd thing an ext4 can hold and a tarball can carry. Made by root, on an ext4."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
GIB = 1 << 30
HARD_LINKS = 60_000
MANY_FILES = 100_000
TIMES = {
    "epoch": 0,
    "a nanosecond before": -1,
    "1960": -300_000_000 * SECOND - 999_999_999,
    "1901": -(1 << 31) * SECOND,
    "2038": (1 << 31) * SECOND + 1,
    "2106": (1 << 32) * SECOND + 123_456_789,
    "2446": ((3 << 32) + (1 << 31) - 1) * SECOND + 999_999_999,
}
"""From the first to the last that an ext4 has (`Documentation/filesystems/ext4/inodes.rst`)."""
NAMES = [
    b"not UTF-8 \xff\xfe\x80",
    b"latin-1 gr\xfc\xdfe",
    "ünïcødé ☃ 𝄞".encode(),
    b"new\nline",
    b"tab\tand\x01\x7f",
    b"back\\slash\\101",
    b"quote\"'`$(x)",
    b"-rf",
    b" ",
    b"trailing ",
    b"...",
    b"n" * 255,
    b"\xff" * 255,
]
SYMLINKS = [1, 59, 60, 61, 100, 101, 255, 4095]
"""Lengths: up to 59 bytes lie in the inode; 100 is what a tar header takes; 4095 is the most."""


def make_odd_tree(top: Path) -> None:
    """Fill the directory, the top of an ext4."""
    before = os.umask(0)
    try:
        for make in (_names, _modes, _devices, _links, _sparse, _xattrs, _directories, _times):
            directory = top / make.__name__.strip("_")
            directory.mkdir()
            make(directory)
    finally:
        os.umask(before)
    top.chmod(0o751)
    os.chown(top, 7, 8)
    os.utime(top, ns=(0, TIMES["2106"]))


def make_packable_tree(top: Path) -> None:
    """What formats can hold that have neither holes nor times beyond 32 bits."""
    before = os.umask(0)
    try:
        for make in (_names, _modes, _devices, _links, _xattrs):
            directory = top / make.__name__.strip("_")
            directory.mkdir()
            make(directory)
    finally:
        os.umask(before)
    top.chmod(0o751)
    os.chown(top, 7, 8)


def make_crowds(top: Path) -> None:
    """Fill the directory with very many names."""
    crowd, links = top / "crowd", top / "links"
    crowd.mkdir()
    links.mkdir()
    for number in range(MANY_FILES):
        os.close(os.open(crowd / f"file {number}", os.O_CREAT | os.O_WRONLY, 0o600))
    (links / "0").write_bytes(b"one file")
    for number in range(1, HARD_LINKS):
        os.link(links / "0", links / str(number))


def _names(top: Path) -> None:
    for name in NAMES:
        path = top / os.fsdecode(name)
        path.mkdir()
        (path / os.fsdecode(name)).write_bytes(name)
    deep = top
    for _ in range(14):
        deep /= "d" * 250
        deep.mkdir()
    (deep / "file").write_bytes(b"deep")


def _modes(top: Path) -> None:
    for mode in (0, 0o1, 0o444, 0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777):
        (top / f"file {mode:o}").write_bytes(b"x" * mode)
        (top / f"directory {mode:o}").mkdir()
        for kind in ("file", "directory"):
            os.chown(top / f"{kind} {mode:o}", mode, 2 * mode)
            (top / f"{kind} {mode:o}").chmod(mode)
    for number, owner in enumerate((1, 65_535, 65_536, 2_097_151, 2_097_152, 4_294_967_294)):
        (top / f"owner {number}").touch()
        os.chown(top / f"owner {number}", owner, 4_294_967_294 - owner)


def _devices(top: Path) -> None:
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        for major, minor in ((0, 0), (1, 3), (255, 255), (256, 0), (1, 256), (4095, 1_048_575)):
            os.mknod(top / f"{kind} {major} {minor}", kind | 0o640, os.makedev(major, minor))
    os.mkfifo(top / "fifo", 0o620)
    os.link(top / "fifo", top / "fifo again")
    os.link(top / f"{stat.S_IFCHR} 1 3", top / "null again")


def _links(top: Path) -> None:
    for length in SYMLINKS:
        (top / f"symlink {length}").symlink_to("t" * length)
        os.lchown(top / f"symlink {length}", length, 1)
    (top / "symlink of bytes").symlink_to(os.fsdecode(b"../\xff/./x//y/"))
    (top / "up").symlink_to("../../../../etc/passwd")
    (top / "absolute").symlink_to("/proc/self/exe")
    for name in ("symlink 61", "symlink of bytes"):
        os.link(top / name, top / f"{name} again", follow_symlinks=False)
    (top / "sub").mkdir()
    (top / "sub" / "file").write_bytes(b"file with three names")
    os.link(top / "sub" / "file", top / "a first name")
    os.link(top / "sub" / "file", top / "z last name")


def _sparse(top: Path) -> None:
    with (top / "4 GiB of nothing").open("wb") as file:
        file.truncate(4 * GIB)
    extents = {0: b"start", 4 * GIB - 3: b"across 4 GiB", 5 * GIB - 4097: b"end" * 1365 + b"xx"}
    _write(top / "5 GiB with data", 5 * GIB, extents)
    _write(top / "holes at both ends", 10 << 20, {5 << 20: b"x" * 4096})
    _write(top / "every other block", 1 << 20, dict.fromkeys(range(4096, 1 << 20, 8192), b"y" * 4096))
    _write(top / "a byte here and there", 3_000_001, dict.fromkeys(range(0, 3000001, 100000), b"z"))
    for size in (0, 1, 511, 512, 513, 4095, 4096, 4097, 1_048_577):
        (top / f"{size} bytes").write_bytes((b"%d " % size * (size // 2 + 1))[:size])
        (top / f"{size} zeros").write_bytes(bytes(size))


def _write(path: Path, size: int, extents: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for position, data in extents.items():
            os.pwrite(file.fileno(), data, position)


def _xattrs(top: Path) -> None:
    for name in ("capable", "acl", "user", "many", "large", "security"):
        (top / name).write_bytes(name.encode())
    subprocess.run(
        [need("setcap", "libcap2-bin"), "cap_net_raw,cap_setuid+ep", str(top / "capable")], check=True
    )
    (top / "directory").mkdir()
    acl = "u:1000:rwx,u:70000:r,g:50:x,m::rwx"
    subprocess.run([need("setfacl", "acl"), "-m", acl, str(top / "acl"), str(top / "directory")], check=True)
    subprocess.run([need("setfacl", "acl"), "-d", "-m", acl, str(top / "directory")], check=True)
    os.setxattr(top / "user", "user.name with spaces=and equals", b"\0binary\n\xff\0")
    os.setxattr(top / "user", "user.empty", b"")
    for number in range(50):
        os.setxattr(top / "many", f"user.{number}", b"%d" % number)
    os.setxattr(top / "large", "user.large", os.urandom(3000))
    os.setxattr(top / "security", "security.something", b"label\0")
    (top / "symlink").symlink_to("user")
    os.mkfifo(top / "fifo")
    for name in ("symlink", "fifo", "directory", "user"):
        os.setxattr(top / name, "trusted.overlay.opaque", b"y", follow_symlinks=False)
    os.link(top / "large", top / "large again")


def _directories(top: Path) -> None:
    (top / "empty").mkdir(0o700)
    (top / "empty in empty" / "empty").mkdir(parents=True)
    deep = top / "deep"
    for number in range(100):
        deep /= str(number)
    deep.mkdir(parents=True)
    wide = top / "wide"
    wide.mkdir()
    for number in range(2000):
        (wide / f"{number} {'w' * 100}").mkdir()


def _times(top: Path) -> None:
    for name, when in TIMES.items():
        (top / name).touch()
        (top / f"directory {name}").mkdir()
        (top / f"symlink {name}").symlink_to(name)
        for kind in ("", "directory ", "symlink "):
            os.utime(top / f"{kind}{name}", ns=(0, when), follow_symlinks=False)
