"""The command lines of qemu-img and partx: each function returns a `Command`.

The format is always given, never probed: a raw disk whose guest wrote a qcow2 header into its first sector
would have QEMU open any file of the host. Files are named relative to a private directory, so no name is
taken for a protocol or an option.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.host.process import Command

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bangerbuild.virtual_disk.containers import Container

SOURCE = "disk"
"""What a virtual disk is called in the directory where qemu-img runs: a link to it."""
MEMORY_BYTES = 1 << 30
"""Tables of a hostile file may be of any size."""
INFO_SECONDS = 60
COPY_SECONDS = 600
MAP_BYTES = 128 << 20
"""A line of about 120 bytes for each extent of a slice, which may be of 512 bytes."""
_ENV = {"MALLOC_ARENA_MAX": "2"}
"""Each thread would reserve 64 MiB, which count as used."""
COLUMNS = "NR,START,SECTORS,TYPE,UUID,NAME,SCHEME"


def info(container: Container, directory: Path) -> Command:
    """Print what a virtual disk is, as JSON."""
    return _qemu_img(("info", "--output=json", _json(_image(container))), directory, INFO_SECONDS)


@dataclass(frozen=True)
class Range:
    """What is copied; all of it in bytes, multiples of 512."""

    start: int
    """In the virtual disk."""
    length: int
    position: int = 0
    """In the target."""


def copy(container: Container, directory: Path, target: str, what: Range) -> Command:
    """Copy a range of a virtual disk into a file that is there and has only zeros at that position.

    Zeros are left out. What does not lie in the range is not read. Two copies into one file may run at once,
    so it is not locked.

    Args:
        container: of the disk.
        directory: private; it has `SOURCE` and the target.
        target: the name of the file in it.
        what: the range.
    """
    file = {**_file(target), "locking": "off"}
    to = {"driver": "raw", "offset": what.position, "size": what.length, "file": file}
    return _convert(container, directory, (what,), to)


def gather(container: Container, directory: Path, target: str, ranges: Iterable[Range]) -> Command:
    """Copy several ranges of a virtual disk, one after the other, into a file of as many zeros.

    Their positions don't count.
    """
    return _convert(container, directory, ranges, {"driver": "raw", "file": _file(target)})


def _convert(
    container: Container, directory: Path, ranges: Iterable[Range], to: dict[str, object]
) -> Command:
    """Several sources are taken for one disk after the other."""
    words = (_json(_part(container, what)) for what in ranges)
    argv = ("convert", "-n", "--target-is-zero", *words, _json(to))
    return _qemu_img(argv, directory, COPY_SECONDS)


def extents(container: Container, directory: Path, what: Range) -> Command:
    """Print, as JSON, where in its file the data of a range of a virtual disk lies."""
    argv = ("map", "--output=json", _json(_part(container, what)))
    return replace(_qemu_img(argv, directory, COPY_SECONDS), output_bytes=MAP_BYTES)


def partitions(directory: Path, file: str, sector_bytes: int) -> Command:
    """Print the partitions of a raw disk; exit code 1 means that there is no table."""
    argv = ("partx", "--sector-size", str(sector_bytes), "--pairs", "--bytes", "--output", COLUMNS, file)
    return Command(argv, ok=frozenset({0, 1}), timeout_seconds=INFO_SECONDS, directory=str(directory))


def punch(file: Path, *, start: int, length: int) -> Command:
    """Give back the room that a range of a file takes."""
    argv = ("fallocate", "--punch-hole", "--offset", str(start), "--length", str(length), str(file))
    return Command(argv, timeout_seconds=INFO_SECONDS)


def _image(container: Container) -> dict[str, object]:
    base = {"backing": None} if container.driver in {"qcow2", "vmdk"} else {}
    return {"driver": container.driver, **base, "file": _file(SOURCE)}


def _file(name: str) -> dict[str, object]:
    return {"driver": "file", "filename": name}


def _part(container: Container, what: Range) -> dict[str, object]:
    return {"driver": "raw", "offset": what.start, "size": what.length, "file": _image(container)}


def _json(node: dict[str, object]) -> str:
    return f"json:{json.dumps(node)}"


def _qemu_img(arguments: tuple[str, ...], directory: Path, seconds: int) -> Command:
    return Command(
        ("qemu-img", *arguments),
        env=_ENV,
        timeout_seconds=seconds,
        memory_bytes=MEMORY_BYTES,
        directory=str(directory),
    )
