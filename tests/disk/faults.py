"""What can happen to a program that writes files: a kill, a power cut, a full disk; at its nth call.

Counted are the calls that change something on the host: each write, sync, allocation, making and removal of a
file. They are replaced in `os`, so that they are met wherever they are made.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

real_open, real_pwrite, real_pread = os.open, os.pwrite, os.pread
real_close, real_unlink, real_truncate = os.close, os.unlink, os.truncate
real_allocate = os.posix_fallocate


class Killed(BaseException):
    """The program has ended; not even its cleanup runs."""


@dataclass
class Host:
    """Counts the calls; a subclass says what becomes of each. Nothing is really synced: that takes long."""

    calls: int = 0
    opened: set[int] = field(default_factory=set)

    def meet(self) -> None:
        """A call that changes something is about to be made."""
        self.calls += 1

    def open(self, path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_CREAT:
            self.meet()
            self.made(Path(path))
        fd = real_open(path, flags, mode, dir_fd=dir_fd)
        self.opened.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self.opened.discard(fd)
        real_close(fd)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.meet()
        self.written(fd, offset, len(data))
        return real_pwrite(fd, data, offset)

    def fsync(self, fd: int) -> None:
        self.meet()
        self.synced(_path(fd))

    def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        self.meet()
        real_allocate(fd, offset, length)

    def truncate(self, path: str | Path, length: int) -> None:
        self.meet()
        real_truncate(path, length)

    def unlink(self, path: str | Path, *, dir_fd: int | None = None) -> None:
        self.meet()
        self.removed(Path(path))
        real_unlink(path, dir_fd=dir_fd)

    def made(self, path: Path) -> None:
        """A file is about to be made."""

    def written(self, fd: int, offset: int, length: int) -> None:
        """A file is about to be written."""

    def synced(self, path: Path) -> None:
        """A file or directory is on the disk."""

    def removed(self, path: Path) -> None:
        """A name is about to be taken away."""


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()


@contextmanager
def running_on(host: Host) -> Iterator[None]:
    """Everything in the block runs on that host, until it is killed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "close", "pwrite", "fsync", "posix_fallocate", "truncate", "unlink"):
            patch.setattr(os, name, getattr(host, name))
        try:
            yield
        finally:
            for fd in host.opened:
                real_close(fd)


@dataclass
class Kill(Host):
    """The program is killed at its nth call, which is not done, or, if it is a write, done by half."""

    at: int = 0
    torn: bool = False

    def meet(self) -> None:
        super().meet()
        if self.calls >= self.at:
            raise Killed

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if self.torn and self.calls + 1 == self.at:
            half = memoryview(data)[: len(data) // 2 // 512 * 512]  # a disk writes whole sectors
            self.written(fd, offset, len(half))
            real_pwrite(fd, half, offset)
        return super().pwrite(fd, data, offset)


@dataclass
class PowerCut(Kill):
    """The same, and what was not synced may be lost: each write, each name that was made or taken away."""

    unsynced: list[tuple[Path, Callable[[], None]]] = field(default_factory=list)
    """What may not have come to the disk: the path to be synced for that, and what makes it not be there."""

    def made(self, path: Path) -> None:
        self.unsynced.append((path.parent, lambda: _forget(path)))

    def removed(self, path: Path) -> None:
        if path.exists():
            content = path.read_bytes()
            self.unsynced.append((path.parent, lambda: _remember(path, content)))

    def written(self, fd: int, offset: int, length: int) -> None:
        path, old, size = _path(fd), real_pread(fd, length, offset), os.fstat(fd).st_size
        self.unsynced.append((path, lambda: _put_back(path, offset, old.ljust(length, b"\0"), size)))

    def synced(self, path: Path) -> None:
        self.unsynced = [(place, undo) for place, undo in self.unsynced if place != path]

    def lose(self, random: Random) -> None:
        """Cut the power: of what was not synced, each is there or not."""
        for _, undo in reversed(self.unsynced):
            if random.randrange(2):
                undo()


def _forget(path: Path) -> None:
    if path.exists():
        real_unlink(path)


def _remember(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _put_back(path: Path, offset: int, old: bytes, size: int) -> None:
    """Undo a write; where it made the file longer there are zeros then, or the file is short again."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        if size < offset + len(old) == file.seek(0, os.SEEK_END):
            file.truncate(max(size, offset))
        else:
            file.seek(offset)
            file.write(old)


@dataclass
class Fault(Host):
    """The nth call fails with an errno, and all that follow do so too if it lasts."""

    at: int = 0
    code: int = 0
    lasts: bool = False

    def meet(self) -> None:
        super().meet()
        if self.calls == self.at or (self.lasts and self.calls > self.at):
            raise OSError(self.code, os.strerror(self.code))


@dataclass
class ShortWrites(Host):
    """Every write is done by half and says so, as after a signal."""

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return super().pwrite(fd, memoryview(data)[: -(-len(data) // 2)], offset)
