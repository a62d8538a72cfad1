"""All that a mounted tree holds, name by name, so that two trees can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LEFT_OUT = b"lost+found"
SHOWN = 30


@dataclass(frozen=True)
class Found:
    """One name."""

    mode: str
    """Type and permissions."""
    uid: int
    gid: int
    mtime_ns: int
    size_bytes: int | None
    """None for a directory, whose size is its filesystem's business."""
    names: int
    """How many it has; of a directory: how many lie in it, and two."""
    first_name: bytes
    """Of all its names, so that equal groups of hard links are equal."""
    device: int
    target: bytes
    digest: str
    xattrs: Mapping[str, bytes]


def survey(top: Path) -> dict[bytes, Found]:
    """What lies below `top`, itself included, by path relative to it."""
    prefix = os.fsencode(top) + b"/"
    paths = sorted(_paths(prefix))
    stats = {path: os.lstat(prefix + path) for path in paths}
    first: dict[int, bytes] = {}
    for path, found in stats.items():
        first.setdefault(found.st_ino, path)
    digests = {path: _digest(prefix + path, stats[path]) for path in first.values()}
    return {path: _found(prefix + path, stats[path], first, digests) for path in paths}


def differences(expected: Mapping[bytes, Found], actual: Mapping[bytes, Found]) -> list[str]:
    """In what two surveys differ, a line for each attribute; no more than can be read."""
    lines = [f"missing: {path!r}" for path in expected.keys() - actual.keys()]
    lines += [f"extra: {path!r}" for path in actual.keys() - expected.keys()]
    for path in expected.keys() & actual.keys():
        one, two = asdict(expected[path]), asdict(actual[path])
        lines += [f"{path!r}: {key}: {one[key]!r} != {two[key]!r}" for key in one if one[key] != two[key]]
    return [line[:300] for line in sorted(lines)[:SHOWN]]


def _paths(prefix: bytes) -> Iterator[bytes]:
    yield b"."
    for directory, names, files in os.walk(prefix):
        if directory == prefix and LEFT_OUT in names:
            names.remove(LEFT_OUT)
        below = b"" if directory == prefix else directory.removeprefix(prefix) + b"/"
        yield from (below + name for name in (*names, *files))


def _found(path: bytes, found: os.stat_result, first: dict[int, bytes], digests: dict[bytes, str]) -> Found:
    is_directory = stat.S_ISDIR(found.st_mode)
    return Found(
        mode=stat.filemode(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        size_bytes=None if is_directory else found.st_size,
        names=found.st_nlink,
        first_name=first[found.st_ino],
        device=found.st_rdev,
        target=os.readlink(path) if stat.S_ISLNK(found.st_mode) else b"",  # noqa: PTH115  # bytes
        digest=digests[first[found.st_ino]],
        xattrs={
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        },
    )


def _digest(path: bytes, found: os.stat_result) -> str:
    """Of a file's data, and of where it lies; holes cost nothing."""
    if not stat.S_ISREG(found.st_mode):
        return ""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a name of any bytes
        for position, data in _data(file.fileno(), found.st_size):
            if data.strip(b"\0"):
                digest.update(b"%d:" % position + data)
    return digest.hexdigest()


def _data(fd: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The blocks that may hold something else than zeros."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        for at in range(start // 4096 * 4096, end, 4096):
            yield at, os.pread(fd, 4096, at)
        position = end
