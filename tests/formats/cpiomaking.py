"""cpio archives and squashfs images for tests: by their own programs, or put together header by header."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = (
    *("ino", "mode", "uid", "gid", "nlink", "mtime", "size", "major", "minor", "own_major", "own_minor"),
    *("namesize", "check"),
)
DEFAULTS = {"mode": 0o100644, "nlink": 1, "mtime": 1}


def record(name: bytes, content: bytes = b"", *, magic: bytes = b"070701", **fields: int) -> bytes:
    """One member; every field may lie."""
    given = {"size": len(content), "namesize": len(name) + 1, **DEFAULTS, **fields}
    header = magic + b"".join(b"%08X" % given.get(field, 0) for field in FIELDS)
    return _padded(header + name + b"\0") + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


TRAILER = record(b"TRAILER!!!", mode=0)


def write_cpio(path: Path, name: bytes, content: bytes) -> Path:
    """An archive of one file."""
    path.write_bytes(record(name, content) + TRAILER)
    return path


def pack_cpio(top: Path, archive: Path, form: str = "newc") -> Path:
    """Has GNU cpio pack a tree, its top included."""
    listed = subprocess.run(
        [need("find"), ".", "-depth", "-print0"], cwd=top, check=True, capture_output=True
    ).stdout
    command = [need("cpio"), "-o", "-0", "-H", form, "--quiet"]
    done = subprocess.run(command, input=listed, cwd=top, check=True, capture_output=True)
    archive.write_bytes(done.stdout)
    return archive


def pack_squashfs(top: Path, image: Path) -> Path:
    """Has mksquashfs pack a tree with all its extended attributes."""
    return make_squashfs(top, image)


def make_squashfs(top: Path, image: Path, *options: str) -> Path:
    """The same with options."""
    program = need("mksquashfs", "squashfs-tools")
    command = [program, str(top), str(image), "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(command, check=True, capture_output=True)
    return image
