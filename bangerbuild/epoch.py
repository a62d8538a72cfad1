"""The time of all that is made here, and the times of files in guests.

What is made here has one time, the epoch. A file with one time for ever would deceive programs that compare
times for equality: nginx answers 304, and Python runs old bytecode, after an edit that keeps the length. So a
file's own time is the epoch and some seconds told from its content, or that of its file on the host.
"""

from __future__ import annotations

import hashlib
from typing import Self

NANOSECONDS = 1_000_000_000
DEFAULT_SECONDS = 946_684_800
"""1 January 2000: far from 0, which the ext4 tools take for "now"."""
SPREAD_SECONDS = 1 << 24
"""Half a year. Two contents have the same time once in 16.7 million edits; all of them lie in the past."""


class Epoch(int):
    """Seconds since 1970 for every time that is made here: SOURCE_DATE_EPOCH, else 1 January 2000."""

    is_set: bool
    """Whether SOURCE_DATE_EPOCH says so: then no time of a file in a guest is later."""

    def __new__(cls, seconds: int = DEFAULT_SECONDS, *, is_set: bool = False) -> Self:
        """An epoch; the default one unless seconds are given."""
        made = super().__new__(cls, seconds)
        made.is_set = is_set
        return made

    def of_content(self, sha256: str) -> int:
        """The mtime, in nanoseconds, of a file whose content has this digest (hex digits).

        From one second on after the default epoch; before one that is set, but never before 1970.
        """
        spread = min(SPREAD_SECONDS, self) if self.is_set else SPREAD_SECONDS
        seconds = 1 + int(sha256, 16) % spread
        return (self - seconds if self.is_set else self + seconds) * NANOSECONDS

    def of_bytes(self, content: bytes) -> int:
        """The same for the content itself."""
        return self.of_content(hashlib.sha256(content).hexdigest())

    def of_host(self, mtime_ns: int) -> int:
        """The mtime of a file that has this one on the host: the same, but not after an epoch that is set."""
        return min(mtime_ns, self * NANOSECONDS) if self.is_set else mtime_ns

    @property
    def version(self) -> str:
        """In a recipe. The default, if it is set, is told from the default that is not: bytes differ."""
        return f"{int(self)}, set" if self.is_set and self == DEFAULT_SECONDS else str(int(self))
