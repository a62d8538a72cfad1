"""The content of a file as pages, of which those that were never written are holes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_BYTES = 4096
SECTOR_BYTES = 512
ZEROS = bytes(PAGE_BYTES)


@dataclass
class Content:
    """A file's size and pages. A page reaches beyond the end of the file with zeros."""

    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Content:
        """What is in a file of this host."""
        content = cls(path.stat().st_size)
        fd = os.open(path, os.O_RDONLY)
        try:
            for start, end in _data(fd, content.size):
                for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
                    data = os.pread(fd, PAGE_BYTES, page * PAGE_BYTES)
                    content.pages[page] = data.ljust(PAGE_BYTES, b"\0")
        finally:
            os.close(fd)
        return content

    def copy(self) -> Content:
        """Another one that can be changed."""
        return Content(self.size, dict(self.pages))

    def put(self, page: int, within: int, data: bytes) -> None:
        """Write into one page; the size stays."""
        old = self.pages.get(page, ZEROS)
        self.pages[page] = old[:within] + data + old[within + len(data) :]

    def truncate(self, size: int) -> None:
        """What ftruncate(2) does."""
        if size < self.size:
            last, within = divmod(size, PAGE_BYTES)
            keep = last + bool(within)
            self.pages = {page: data for page, data in self.pages.items() if page < keep}
            if within and last in self.pages:
                self.put(last, within, bytes(PAGE_BYTES - within))
        self.size = size

    def punch(self, start: int, length: int) -> None:
        """Make a hole: whole pages go, parts of pages become zeros."""
        for page, within, size in pieces(start, length):
            if size == PAGE_BYTES:
                self.pages.pop(page, None)
            elif page in self.pages:
                self.put(page, within, bytes(size))

    def allocate(self, start: int, length: int) -> None:
        """Give blocks to what has none: they read as zeros, also after a cut, until data is in them."""
        for page, _, _ in pieces(start, length):
            self.pages.setdefault(page, ZEROS)

    def write_to(self, path: Path, mode: int) -> None:
        """Make this a file of the host."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.ftruncate(fd, self.size)
            for first, data in self._runs():
                os.pwrite(fd, data[: self.size - first * PAGE_BYTES], first * PAGE_BYTES)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def _runs(self) -> Iterator[tuple[int, bytes]]:
        run: list[bytes] = []
        first = 0
        for page in sorted(page for page in self.pages if page * PAGE_BYTES < self.size):
            if run and page != first + len(run):
                yield first, b"".join(run)
                run = []
            if not run:
                first = page
            run.append(self.pages[page])
        if run:
            yield first, b"".join(run)

    def key(self) -> tuple[int, int]:
        """What tells it from others; within one process only."""
        last = -(-self.size // PAGE_BYTES)
        return self.size, hash(
            frozenset((page, data) for page, data in self.pages.items() if page < last and data != ZEROS)
        )


def pieces(start: int, length: int) -> Iterator[tuple[int, int, int]]:
    """The pages of a range: page, offset within it, length."""
    end = start + length
    while start < end:
        page, within = divmod(start, PAGE_BYTES)
        size = min(PAGE_BYTES - within, end - start)
        yield page, within, size
        start += size


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at
