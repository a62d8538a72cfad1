"""Tarballs for tests: made by GNU tar where it can, else put together header by header."""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.formats.archive import DEFAULT_LIMITS, open_archive
from bangerbuild.formats.totals import measure
from tests.need import lacking, need

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bangerbuild.formats.limits import UnpackLimits
    from bangerbuild.formats.totals import Totals
    from bangerbuild.tree import Entry

END = bytes(1024)


def gnu_tar(top: Path, archive: Path, *options: str) -> Path:
    """Has GNU tar pack `top`, entries sorted."""
    command = [
        need("tar"),
        "--create",
        "--sort=name",
        *options,
        f"--file={archive}",
        f"--directory={top}",
        ".",
    ]
    subprocess.run(command, check=True, capture_output=True)  # the archive under test is made by another tool
    return archive


def read_all(archive: Path) -> list[tuple[Entry, bytes]]:
    """Every entry, without its content, and what its content yields."""
    with open_archive(archive) as entries:
        return [
            (replace(entry, content=None), entry.content.read() if entry.content else b"")
            for entry in entries
        ]


def entries_of(archive: Path) -> dict[str, Entry]:
    """Every entry by its path, without content."""
    return {entry.path: entry for entry, _ in read_all(archive)}


def measure_archive(archive: Path, *, limits: UnpackLimits = DEFAULT_LIMITS) -> Totals:
    """What a tarball needs in a filesystem; read to its end, and its content skipped."""
    with open_archive(archive, limits=limits) as entries:
        return measure(entries)


def set_xattr(path: Path, name: str, value: bytes) -> None:
    """Sets an attribute, or skips the test where the filesystem holds none."""
    try:
        os.setxattr(path, name, value)
    except OSError as err:
        if err.errno != errno.ENOTSUP:
            raise
        lacking("the temporary directory's filesystem holds no extended attributes")


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int = 0o644,
    uid: int | bytes = 0,
    mtime: int | bytes = 0,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
) -> bytes:
    """One header block with a right checksum. Bytes stand in their field as they are."""
    fields = (
        (name, 100),
        (b"%07o" % mode, 8),
        (_octal(uid, 8), 8),
        (b"%07o" % 0, 8),
        (_octal(size, 12), 12),
        (_octal(mtime, 12), 12),
        (b" " * 8, 8),
        (kind, 1),
        (link, 100),
        (magic, 8),
        (b"", 64),
        (b"%07o" % 5, 8),
        (b"%07o" % 1, 8),
        (prefix, 167),
    )
    block = b"".join(value.ljust(width, b"\0") for value, width in fields)
    return with_checksum(block)


def with_checksum(block: bytes, extra: int = 0) -> bytes:
    """The block with the checksum it should have, or one that is `extra` too large."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:]) + extra
    return block[:148] + b"%06o\0 " % total + block[156:]


def member(name: bytes, data: bytes = b"", **fields: object) -> bytes:
    """A header, and the data padded to blocks."""
    return header(name, size=len(data), **fields) + padded(data)  # type: ignore[arg-type] # passed through


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """An extended header with these records."""
    return member(b"PaxHeaders/x", b"".join(record(key, value) for key, value in records), kind=kind)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record, its length counting itself."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def padded(data: bytes) -> bytes:
    """Filled up with zeros to whole blocks."""
    return data + bytes(-len(data) % 512)


def _octal(value: int | bytes, width: int) -> bytes:
    return value if isinstance(value, bytes) else b"%0*o" % (width - 1, value)
