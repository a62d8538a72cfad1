"""Stamps: the `stat` and digest of an artifact when it was last published or inspected.

An artifact whose `stat` equals its stamp is unchanged and need not be read. The mtime of a published file is
set to whole milliseconds, which the kernel's clock never gives by itself, so that a later write always
changes it, even within the same clock tick.
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
"""A file that was changed less than this ago may change again and keep its mtime."""


@dataclass(frozen=True)
class Stamp:
    """The state of an artifact when it was published, or when it was last found to be as declared."""

    size: int
    mtime_ns: int
    inode: int
    digest: str
    """Of its bytes; empty for a guest's disk, which may be large and is never compared."""
    guest: bool = False
    """Whether a guest has written to it. It then stays the guest's, also after patches of this program."""

    def fits(self, status: os.stat_result) -> bool:
        """Whether a `stat` equals the stamp, so that the digest need not be computed."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)

    def outdated(self) -> Self:
        """The same stamp without a valid mtime, so that the artifact is inspected again."""
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
    """Set a file's mtime to whole milliseconds and return its stamp; `digest` if it is known already."""
    digest = "" if guest else digest or clone.digest(file)
    milliseconds = time.time_ns() // 1_000_000
    os.utime(file, ns=(milliseconds * 1_000_000, milliseconds * 1_000_000))
    return of(file.stat(), digest, guest=guest)


def of(status: os.stat_result, digest: str, *, guest: bool) -> Stamp:
    """The stamp of a file with this `stat`."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, digest, guest)


def is_settled(status: os.stat_result) -> bool:
    """Whether a file's last change is so long ago that the next one will change its mtime."""
    return time.time_ns() - status.st_mtime_ns > YOUNG_SECONDS * 1_000_000_000
