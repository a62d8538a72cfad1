"""Joined trees of tests: made here, joined by the kernel, and edited by both in the same way."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.overlayfs import upper
from bangerbuild.disk.overlayfs.tree import JoinedTree
from bangerbuild.errors import GuestPathError
from bangerbuild.tree import EntryType
from tests.content.mounting import mounted
from tests.disk.desk import Desk
from tests.disk.ext4_tools import NOW
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.tree import Entry

MIB = 1 << 20
OPTIONS = "redirect_dir=off,metacopy=off,index=off"
LOWER_MARKS = ("origin", "impure", "uuid", "nlink")
"""The attributes of overlayfs that speak of the lower disk's inodes, and that nothing but it writes."""
BASE = "images/base/rootfs.ext4"


def make_upper(path: Path, lower: Path, size_bytes: int = 16 * MIB) -> Path:
    with RawFile(lower) as blocks, Filesystem(blocks) as below:
        upper.empty(size_bytes, BASE, below, Desk(path.parent)).instantiate(path)
    return path


@contextmanager
def joined(lower: Path, disk: Path, *, writable: bool = False, now: int = NOW) -> Iterator[JoinedTree]:
    with (
        RawFile(lower) as below,
        Filesystem(below) as under,
        RawFile(disk, writable=writable, durable=False) as blocks,
        JoinedTree(blocks, under, writable=writable, now=now) as tree,
    ):
        yield tree


@contextmanager
def kernel_joined(lower: Path, disk: Path, directory: Path, options: str = OPTIONS) -> Iterator[Path]:
    """The two as the kernel joins them, with the options of the guest."""
    with ExitStack() as stack:
        below = stack.enter_context(mounted(lower, directory / "lower", "ro"))
        above = stack.enter_context(mounted(disk, directory / "upper"))
        point = directory / "joined"
        point.mkdir(exist_ok=True)
        paths = f"lowerdir={below},upperdir={above}/upper,workdir={above}/work"
        command = [need("mount"), "-t", "overlay", "-o", f"{paths},{options}", "overlay", str(point)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this kernel has no overlayfs")
        stack.callback(subprocess.run, [need("umount", "mount"), str(point)], check=True)
        yield point


class Seen(NamedTuple):
    """A file of a tree, as it is compared."""

    type: str
    mode: int
    owner: tuple[int, int]
    content: bytes | str | tuple[int, int]
    mtime_ns: int
    """0 of a directory: overlayfs sets it where a name is added, and we don't."""
    xattrs: dict[str, bytes]


def seen_by_us(entries: Iterator[Entry]) -> dict[str, Seen]:
    """Every file by its path, hard links as files of their own."""
    found: dict[str, Seen] = {}
    for entry in entries:
        if entry.type is EntryType.HARD_LINK:
            found[entry.path] = found[entry.target]
            continue
        content: bytes | str | tuple[int, int] = entry.target or entry.device
        if entry.content is not None:
            content = entry.content.read()
        is_directory = entry.type is EntryType.DIRECTORY
        mtime_ns = 0 if is_directory else entry.mtime_ns
        found[entry.path] = Seen(
            entry.type.value, entry.mode, (entry.uid, entry.gid), content, mtime_ns, dict(entry.xattrs)
        )
    return found


def seen_by_kernel(point: Path) -> dict[str, Seen]:
    """The same of a mounted tree."""
    paths = [point, *(Path(top, name) for top, *names in os.walk(point) for part in names for name in part)]
    return {str(path.relative_to(point)).removeprefix("."): _seen(path) for path in paths}


_TYPES: dict[int, EntryType] = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
}


def _seen(path: Path) -> Seen:
    found = path.lstat()
    kind = _TYPES[stat.S_IFMT(found.st_mode)]
    content: bytes | str | tuple[int, int] = (os.major(found.st_rdev), os.minor(found.st_rdev))
    if kind is EntryType.FILE:
        content = path.read_bytes()
    elif kind is EntryType.SYMLINK:
        content = str(path.readlink())
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    owner = (found.st_uid, found.st_gid)
    mtime_ns = 0 if kind is EntryType.DIRECTORY else found.st_mtime_ns
    return Seen(kind.value, stat.S_IMODE(found.st_mode), owner, content, mtime_ns, xattrs)


def upper_tree(disk: Path) -> dict[str, Seen]:
    """What an upper disk holds in its upper tree, the marks of overlayfs too, but those of `LOWER_MARKS`."""
    with RawFile(disk) as blocks, Filesystem(blocks) as plain:
        found = seen_by_us(plain.walk())
    return {
        path: seen._replace(
            xattrs={
                name: value
                for name, value in seen.xattrs.items()
                if name.removeprefix("trusted.overlay.") not in LOWER_MARKS
            },
            # A whiteout has no time of its own: overlayfs shares one inode among them.
            mtime_ns=0 if is_whiteout(seen) else seen.mtime_ns,
        )
        for path, seen in found.items()
        if path.startswith("upper")
    }


def is_whiteout(seen: Seen) -> bool:
    return (seen.type, seen.content) == ("character device", (0, 0))


class Editor(Protocol):
    """What makes the same edits in its own way; paths begin with a slash."""

    def kind(self, path: str) -> EntryType | None: ...
    def write(self, path: str, content: bytes, mode: int, mtime_ns: int) -> None: ...
    def make_directory(self, path: str, mode: int) -> None: ...
    def make_symlink(self, path: str, target: str) -> None: ...
    def link(self, path: str, existing: str) -> None: ...
    def remove(self, path: str) -> None: ...
    def change(self, path: str, mode: int, uid: int) -> None: ...
    def set_xattr(self, path: str, value: bytes) -> None: ...


@dataclass(frozen=True)
class OurEditor(Editor):
    tree: Filesystem

    def kind(self, path: str) -> EntryType | None:
        try:
            found = self.tree.stat(path, follow=False)
        except GuestPathError:  # something on the way is no directory
            return None
        return found.type if found else None

    def write(self, path: str, content: bytes, mode: int, mtime_ns: int) -> None:
        self.tree.write_file(path, content, mode=mode, mtime_ns=mtime_ns)

    def make_directory(self, path: str, mode: int) -> None:
        self.tree.make_directory(path, mode=mode)

    def make_symlink(self, path: str, target: str) -> None:
        self.tree.make_symlink(path, target, mtime_ns=NOW)

    def link(self, path: str, existing: str) -> None:
        self.tree.link(path, existing)

    def remove(self, path: str) -> None:
        self.tree.remove(path, recursive=True)

    def change(self, path: str, mode: int, uid: int) -> None:
        self.tree.set_attributes(path, mode=mode, uid=uid, gid=uid, follow=False)

    def set_xattr(self, path: str, value: bytes) -> None:
        self.tree.set_xattr(path, "user.note", value, follow=False)


@dataclass(frozen=True)
class KernelEditor(Editor):
    point: Path

    def _path(self, path: str) -> Path:
        return self.point / path.lstrip("/")

    def kind(self, path: str) -> EntryType | None:
        try:
            return _TYPES[stat.S_IFMT(self._path(path).lstat().st_mode)]
        except OSError:
            return None

    def _cleared(self, path: str) -> Path:
        place = self._path(path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        return place

    def write(self, path: str, content: bytes, mode: int, mtime_ns: int) -> None:
        place = self._cleared(path)
        place.write_bytes(content)
        place.chmod(mode)
        os.utime(place, ns=(mtime_ns, mtime_ns))

    def make_directory(self, path: str, mode: int) -> None:
        place = self._path(path)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not place.exists():
            place.mkdir()
            place.chmod(mode)

    def make_symlink(self, path: str, target: str) -> None:
        place = self._cleared(path)
        place.symlink_to(target)
        os.utime(place, ns=(NOW, NOW), follow_symlinks=False)

    def link(self, path: str, existing: str) -> None:
        place, source = self._path(path), self._path(existing)
        if os.path.lexists(place) and os.path.samestat(place.lstat(), source.lstat()):
            return
        os.link(source, self._cleared(path), follow_symlinks=False)

    def remove(self, path: str) -> None:
        place = self._path(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()

    def change(self, path: str, mode: int, uid: int) -> None:
        os.chown(self._path(path), uid, uid, follow_symlinks=False)
        self._path(path).chmod(mode)

    def set_xattr(self, path: str, value: bytes) -> None:
        os.setxattr(self._path(path), "user.note", value)


class Edit(NamedTuple):
    """One edit; it is left out where it can't be made."""

    what: str
    path: str
    number: int = 0
    other: str = "/"

    def make(self, editor: Editor) -> None:
        if self._can_be_made(editor):
            _MAKERS[self.what](editor, self)

    def _can_be_made(self, editor: Editor) -> bool:
        kind = editor.kind(self.path)
        parts = self.path.strip("/").split("/")
        above = ["/" + "/".join(parts[:length]) for length in range(1, len(parts))]
        is_reached = all(editor.kind(path) in {None, EntryType.DIRECTORY} for path in above)
        if self.what in {"write", "symlink"}:
            return is_reached and kind is not EntryType.DIRECTORY
        if self.what == "directory":
            return is_reached and kind in {None, EntryType.DIRECTORY}
        if self.what == "link":
            source = editor.kind(self.other)
            return is_reached and kind is not EntryType.DIRECTORY and source is EntryType.FILE
        return kind is not None if self.what == "remove" else kind in {EntryType.FILE, EntryType.DIRECTORY}


_MAKERS: dict[str, Callable[[Editor, Edit], None]] = {
    "write": lambda to, edit: to.write(
        edit.path, bytes([edit.number % 256]) * edit.number, 0o600 + edit.number % 64, NOW + edit.number
    ),
    "directory": lambda to, edit: to.make_directory(edit.path, 0o700 + edit.number % 64),
    "symlink": lambda to, edit: to.make_symlink(edit.path, f"target-{edit.number}"),
    "link": lambda to, edit: to.link(edit.path, edit.other),
    "remove": lambda to, edit: to.remove(edit.path),
    "change": lambda to, edit: to.change(edit.path, 0o600 + edit.number % 64, edit.number),
    "xattr": lambda to, edit: to.set_xattr(edit.path, bytes([edit.number % 256])),
}
KINDS = tuple(_MAKERS)
