"""Runs that are recorded: every call that changes a file, with its data, and every sync, in one order.

`recorder.c` writes the log, from inside bangerbuild and the programs that it starts. That nothing is missing
is tested in `test_recorder.py`.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.drills.calls import Seen
from tests.drills.running import Runner, start_server
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.drills.calls import Hit

KINDS = (
    *("write", "truncate", "punch", "allocate", "flags", "mode", "time"),
    *("create", "mkdir", "symlink", "link", "rename", "unlink", "rmdir"),
    *("fsync", "fdatasync", "syncfs", "unknown"),
)
SYNCS = frozenset(("fsync", "fdatasync", "syncfs"))
SOURCE = Path(__file__).with_name("recorder.c")
MOST_INODES = 16384
_HEADER = struct.Struct("<IIQqqqIII4x")
_CONTROL = struct.Struct("<4i256s256s")


@dataclass(frozen=True)
class Record:
    """One call that was made."""

    kind: str
    mode: int
    """Of the file, after the call."""
    ino: int
    a: int
    """The offset of a write or a hole, a size, or whether each write waits for the disk."""
    b: int
    """The length of a hole."""
    mtime_ns: int
    synced: bool
    """Whether the write itself waited for the disk."""
    data: bytes
    """What was written; otherwise the path, of a rename the old one."""
    text: str
    """The new path of a rename, the target of a symlink; of a sync where in the program it was asked for."""

    @property
    def path(self) -> str:
        """The path that the call names."""
        return self.data.decode(errors="surrogateescape")


def parsed(log: bytes) -> Iterator[Record]:
    """The records of a log."""
    at = 0
    while at < len(log):
        kind, mode, ino, a, b, mtime_ns, synced, *lengths = _HEADER.unpack_from(log, at)
        at += _HEADER.size
        data = log[at : at + lengths[0]]
        at += lengths[0]
        text = log[at : at + lengths[1]].decode(errors="surrogateescape")
        at += lengths[1]
        yield Record(KINDS[kind], mode, ino, a, b, mtime_ns, bool(synced), data, text)


class Recorder:
    """What runs are told through a file that all of their processes have mapped.

    Args:
        directory: for the file and the log.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "control"
        self.log = directory / "log"
        self.log.touch()
        size = _CONTROL.size + 3 * 8 * MOST_INODES
        self.path.write_bytes(_CONTROL.pack(0, 0, 0, 0, b"", str(self.log).encode()).ljust(size, b"\0"))
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def arm(self, below: Path, victim: int, hit: Hit | None) -> None:  # noqa: ARG002  # as a drill's control has it
        """Nothing: what is recorded was set before."""
        assert hit is None

    def seen(self) -> Seen:
        """Nothing: it stands in the log."""
        return Seen({}, "")

    @contextmanager
    def recording(self, below: Path, *, shares: bool) -> Iterator[list[Record]]:
        """Record what happens below a directory; the list is filled at the end of the with block.

        Args:
            below: the directory.
            shares: whether its filesystem is said to share blocks of files, as XFS and btrfs do.
        """
        self.say({})
        self.log.write_bytes(b"")
        records: list[Record] = []
        log = str(self.log).encode()
        self._map[: _CONTROL.size] = _CONTROL.pack(0, 1, shares, 0, str(below).encode(), log)
        try:
            yield records
        finally:
            self._map[: _CONTROL.size] = _CONTROL.pack(0, 0, 0, 0, b"", log)
        records.extend(parsed(self.log.read_bytes()))

    def say(self, inodes: Mapping[int, int]) -> None:
        """Have stat say other inodes than the kernel's, given as keys."""
        assert len(inodes) <= MOST_INODES
        real = sorted(inodes)
        columns = (real, [inodes[ino] for ino in real], sorted(inodes.values()))
        for number, column in enumerate(columns):
            struct.pack_into(f"<{len(column)}Q", self._map, _CONTROL.size + number * 8 * MOST_INODES, *column)
        struct.pack_into("<i", self._map, 12, len(real))


def compiled(directory: Path) -> Path:
    """The library to preload."""
    library = directory / "recorder.so"
    command = [need("cc", "gcc"), "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return library


@contextmanager
def start_recorder(
    directory: Path, *, through: tuple[str, ...] = (), **variables: str
) -> Iterator[tuple[Recorder, Runner]]:
    """Bangerbuild, to be run and recorded, until the end of the with block.

    Args:
        directory: for what it needs and prints.
        through: the program that starts it, with arguments.
        variables: of its environment.
    """
    recorder = Recorder(directory)
    preloaded = {"LD_PRELOAD": str(compiled(directory)), "POWERCUT_CONTROL": str(recorder.path)}
    with start_server("tests.powercut.starter", through=through, **preloaded, **variables) as server:
        yield recorder, Runner(server, recorder, directory)
