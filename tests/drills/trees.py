"""All that is on a disk, as debugfs sees it."""

from __future__ import annotations

import re
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LOST_AND_FOUND = "/lost+found"
UPPER = "/upper"


@dataclass(frozen=True)
class Node:
    """What a path leads to."""

    mode: int
    """Type and permission bits."""
    content: bytes = b""
    """Of a file; of a symlink its target."""
    uid: int = 0
    gid: int = 0
    ino: int = field(default=0, compare=False)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


Tree = dict[str, Node]


def file(content: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Node:
    data = content.encode() if isinstance(content, str) else content
    return Node(stat.S_IFREG | mode, data, uid, gid)


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Node:
    return Node(stat.S_IFDIR | mode, b"", uid, gid)


def symlink(target: str, uid: int = 0, gid: int = 0) -> Node:
    return Node(stat.S_IFLNK | 0o777, target.encode(), uid, gid)


def tree(disk: Path) -> Tree:
    """Every path on a raw disk but `lost+found`, the root directory as `/`."""
    with tempfile.TemporaryDirectory() as scratch:
        _debugfs(disk, "-R", f"rdump / {scratch}")
        below = Path(scratch)
        names = ["", *(f"/{path.relative_to(below)}" for path in _directories(below))]
        requests = below / "requests"
        requests.write_text("".join(f'ls -p "{name or "/"}"\n' for name in names))
        listed = dict(_listed(_debugfs(disk, "-f", str(requests)), names))
        return {
            path: Node(mode, _content(below, path, mode), uid, gid, ino)
            for path, (ino, mode, uid, gid) in listed.items()
            if path != LOST_AND_FOUND
        }


def joined(lower: Tree, disk: Tree, path: Path) -> Tree:
    """What the kernel's overlayfs shows of a tree and one above it (Documentation/filesystems/overlayfs.rst).

    Args:
        lower: the tree below.
        disk: all of the disk whose directory `upper` lies over it.
        path: that disk, for attributes of its directories.
    """
    found = dict(lower)
    for name in sorted(name for name in disk if name == UPPER or name.startswith(f"{UPPER}/")):
        node, place = disk[name], name.removeprefix(UPPER) or "/"
        if not (node.is_directory and found.get(place, node).is_directory) or _is_opaque(path, name, node):
            for gone in [one for one in found if one == place or one.startswith(f"{place}/")]:
                del found[gone]
        if not stat.S_ISCHR(node.mode):  # a whiteout; images of drills have no devices
            found[place] = node
    return found


def _is_opaque(disk: Path, name: str, node: Node) -> bool:
    """Whether nothing below a directory is seen."""
    return node.is_directory and "trusted.overlay.opaque" in _debugfs(disk, "-R", f'ea_list "{name}"')


def _debugfs(disk: Path, *arguments: str) -> str:
    command = [need("debugfs"), *arguments, str(disk)]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode(errors="surrogateescape")


def _directories(top: Path) -> Iterator[Path]:
    return (path for path in sorted(top.rglob("*")) if path.is_dir() and not path.is_symlink())


def _listed(said: str, names: Iterable[str]) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Each path with inode, mode and owner; the answers come in the order of the requests."""
    answers = re.split(r"^debugfs: ls -p .*\n", said, flags=re.MULTILINE)[1:]
    for parent, answer in zip(names, answers, strict=True):
        for line in filter(None, answer.splitlines()):
            _, ino, mode, uid, gid, name, *_ = line.split("/")
            path = "/" if (parent, name) == ("", ".") else f"{parent}/{name}"
            if int(ino) and (name not in {".", ".."} or path == "/"):  # 0: room for a name
                yield path, (int(ino), int(mode, 8), int(uid), int(gid))


def _content(below: Path, path: str, mode: int) -> bytes:
    dumped = below / path.lstrip("/")
    if stat.S_ISLNK(mode):
        return str(dumped.readlink()).encode()
    return dumped.read_bytes() if stat.S_ISREG(mode) else b""


def differences(found: Tree, expected: Mapping[str, Node]) -> list[str]:
    """In what two trees differ, to be read."""
    paths = sorted(found.keys() | expected.keys())
    return [
        f"{path}: {_brief(found.get(path))} instead of {_brief(expected.get(path))}"
        for path in paths
        if found.get(path) != expected.get(path)
    ]


def _brief(node: Node | None) -> str:
    if node is None:
        return "nothing"
    return f"{stat.filemode(node.mode)} {node.uid}:{node.gid} {len(node.content)} {node.content[:40]!r}"
