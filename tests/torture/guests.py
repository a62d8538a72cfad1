"""Guests at work: each opens a disk, writes a file of its own into it, and closes it again.

A guest starts as QEMU does: it opens the disk and locks it. It goes on only if the disk still has its name,
and no change by half lies beside it, as the launch scripts do.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.disk import in_use
from bangerbuild.errors import BangerError
from tests.drills.drill import BESIDE
from tests.drills.scenes import written_by_guest
from tests.torture.scene import FORMATS, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Written:
    """A file that a guest has written and closed."""

    disk: str
    """`a/work.ext4`"""
    path: str
    content: bytes
    at: float
    """When it was closed, monotonic."""


@dataclass
class Guests:
    """All guests of a project; each disk has one at a time."""

    project: Path
    seed: int
    stopping: threading.Event
    written: list[Written] = field(default_factory=list)
    turned_away: int = 0
    """Guests that found the disk gone, replaced or changed by half."""

    def __post_init__(self) -> None:
        self.locks = {f"{vm}/{name}": threading.Lock() for vm in FORMATS for name in NAMES}

    def work(self, number: int) -> None:
        """What one thread of guests does until it is told to stop."""
        chance = random.Random(f"{self.seed} guest {number}")
        count = 0
        while not self.stopping.is_set():
            disk = chance.choice(sorted(self.locks))
            with self.locks[disk], _opened(self.project / "build/vms" / disk) as is_ours:
                if is_ours:
                    count += 1
                    self._write(disk, f"/by-guest-{number}-{count}", chance)
                else:
                    self.turned_away += 1
            time.sleep(chance.expovariate(10))

    def _write(self, disk: str, path: str, chance: random.Random) -> None:
        content = chance.randbytes(chance.choice((0, 100, 40_000)))
        try:
            opened = written_by_guest(self.project, disk)
            with opened as filesystem:
                time.sleep(chance.choice((0, 0, 0.2)))
                filesystem.write_file(path, content)
        except (BangerError, FileNotFoundError, KeyError):  # the records of its base are not there just now
            self.turned_away += 1
        else:
            self.written.append(Written(disk, path, content, time.monotonic()))


@contextmanager
def _opened(path: Path) -> Iterator[bool]:
    """Hold a disk as a VM does; False if none may start on it."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        yield in_use._is_locked(fd) and _has_its_name(fd, path) and not _is_changed_by_half(path)
    finally:
        os.close(fd)


def _has_its_name(fd: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _is_changed_by_half(path: Path) -> bool:
    return any(os.path.lexists(f"{path}{left}") for left in BESIDE)
