"""Calls that change files: counted over all threads and programs of a run, and hit at one of them.

`calls.c` does it, from inside: preloaded into bangerbuild and into the programs that it starts. That the
kernel sees the same calls is tested in `test_calls.py`.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Collection

KINDS = ("create", "rename", "sync", "unlink", "truncate", "write")
"""Making (mkdir, O_CREAT), renaming, syncing, unlinking (rmdir too), truncating, and all that writes."""
SOURCE = Path(__file__).with_name("calls.c")
_CONTROL = struct.Struct("<4i2q6q256s256s")


@dataclass(frozen=True)
class Hit:
    """At which call what is to happen."""

    kinds: Collection[str]
    at: int
    """Which of the calls of these kinds, from 1."""
    error: int = 0
    """The errno that it fails with; 0: the whole run is killed right before it."""
    lasting: bool = False
    """Whether all later calls of these kinds fail too, as on a disk that stays full."""


@dataclass(frozen=True)
class Seen:
    """What a run did."""

    counts: dict[str, int]
    """How many calls of each kind."""
    hit: str
    """The call that was hit and its path below the store; empty if the run never came so far."""


def compiled(directory: Path) -> Path:
    """The library to preload."""
    library = directory / "calls.so"
    command = [need("cc", "gcc"), "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return library


class Control:
    """The file through which runs are told what to hit, and tell what they did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_CONTROL.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CONTROL.size)

    def arm(self, below: Path, victim: int, hit: Hit | None) -> None:
        """Count from 0 on what happens below a directory, and hit one call of the victim or its programs."""
        kinds = sum(1 << KINDS.index(kind) for kind in hit.kinds) if hit else 0
        at, error, lasting = (hit.at, hit.error, hit.lasting) if hit else (0, 0, False)
        counts = [0] * len(KINDS)
        self._map[:] = _CONTROL.pack(kinds, error, lasting, victim, at, 0, *counts, f"{below}/".encode(), b"")

    def seen(self) -> Seen:
        """What happened since."""
        *numbers, _, hit = _CONTROL.unpack(self._map[:])
        return Seen(dict(zip(KINDS, numbers[6:], strict=True)), hit.rstrip(b"\0").decode())
