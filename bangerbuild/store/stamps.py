"""Stamps: what `stat` said of an artifact when it was last published or looked at.

The mtime of what we publish is set to whole milliseconds, which the kernel's clock never gives by itself, so
that a write in the same tick still shows.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, cast

from bangerbuild.disk import clone

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import Json

YOUNG_SECONDS = 2
"""A file that was changed so lately may be changed again without another mtime."""


@dataclass(frozen=True)
class Stamp:
    """An artifact as it was published, or as it was when it was last found to be as declared."""

    size: int
    mtime_ns: int
    inode: int
    digest: str
    """Of its bytes; empty for a guest's, which may be large and are never compared."""
    guest: bool = False
    """Whether it holds what a guest has written: then it stays the guest's, whatever we change in it."""

    def fits(self, status: os.stat_result) -> bool:
        """Whether `stat` still says the same, so that the digest need not be asked."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)

    def outdated(self) -> Self:
        """The same, but of an artifact that has to be looked into once more."""
        return replace(self, mtime_ns=0)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """The stamp that `to_json` made this of."""
        size, mtime_ns, inode, digest, guest = cast("tuple[int, int, int, str, int]", value)
        return cls(size, mtime_ns, inode, digest, bool(guest))

    def to_json(self) -> list[Json]:
        """As the store keeps it: the fields in their order."""
        return [self.size, self.mtime_ns, self.inode, self.digest, self.guest]


def stamped(file: Path, *, guest: bool, digest: str | None = None) -> Stamp:
    """Set a file's mtime, and stamp it; `digest` where it is known."""
    digest = "" if guest else digest or clone.digest(file)
    milliseconds = time.time_ns() // 1_000_000
    os.utime(file, ns=(milliseconds * 1_000_000, milliseconds * 1_000_000))
    return of(file.stat(), digest, guest=guest)


def of(status: os.stat_result, digest: str, *, guest: bool) -> Stamp:
    """The stamp that fits a file as it is."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, digest, guest)


def is_settled(status: os.stat_result) -> bool:
    """Whether a file was changed long enough ago for its mtime to tell the next change."""
    return time.time_ns() - status.st_mtime_ns > YOUNG_SECONDS * 1_000_000_000
