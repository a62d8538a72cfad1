"""How much a source may unpack to: the guard against archives that are small and mean to fill the disk.

What counts is what a tree made of it takes, on disk and in memory: the bytes that come out of the
compression, and 4 KiB for each entry and for each directory above it that was not met before. So neither
zeros nor empty files go on for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from bangerbuild import sizes
from bangerbuild.errors import SourceError

ENTRY_BYTES = 4096
"""What an entry counts beside its bytes in the archive."""
FREE_BYTES = 1 << 30
"""What any source may unpack to, however small it is."""


@dataclass(frozen=True)
class UnpackLimits:
    """What is the most that a source may unpack to."""

    total_bytes: int | None = None
    """In bytes, as somebody has said who knows the source; then the ratio does not count."""
    ratio: int = 100
    """How many times its own size, from 1 GiB on. Root filesystems are at 2 to 5."""

    def allowed_bytes(self, source_bytes: int) -> int:
        """The most that a source of this size may unpack to."""
        if self.total_bytes is not None:
            return self.total_bytes
        return max(FREE_BYTES, self.ratio * source_bytes)


class Budget:
    """What is left of a limit while a source unpacks.

    Args:
        limits: what it may unpack to.
        source_bytes: what it takes before.
        written: what messages call it.
    """

    def __init__(self, limits: UnpackLimits, source_bytes: int, written: str) -> None:
        self._allowed_bytes = limits.allowed_bytes(source_bytes)
        self._left_bytes = self._allowed_bytes
        self._source_bytes = source_bytes
        self._written = written

    def spend(self, count_bytes: int) -> None:
        """Takes so many bytes off.

        Raises:
            SourceError: there are not as many left.
        """
        self._left_bytes -= count_bytes
        if self._left_bytes < 0:
            allowed, source = sizes.readable(self._allowed_bytes), sizes.readable(self._source_bytes)
            raise SourceError(
                f"{self._written!r} has {source} and unpacks to more than {allowed}",
                hint="if it is to be trusted, say with `max_size` how much it may unpack to",
            )
