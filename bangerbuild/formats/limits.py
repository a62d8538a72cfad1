"""Limits on how much a source may unpack to, against small archives that would fill the disk ("zip bombs").

What counts is what the unpacked tree takes: the decompressed bytes, and 4 KiB for each entry and each new
directory above it. So both endless zeros and endless empty files reach the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from bangerbuild.errors import SourceError, readable_size

ENTRY_BYTES = 4096
"""What an entry counts, in addition to its bytes in the archive."""
FREE_BYTES = 1 << 30
"""What even the smallest source may unpack to."""


@dataclass(frozen=True)
class UnpackLimits:
    """The limit of a source: a fixed one, or a multiple of its size."""

    total_bytes: int | None = None
    """A fixed limit that the user has set; the ratio does not count then."""
    ratio: int = 100
    """The limit as a multiple of the source's size, at least 1 GiB. Root filesystems have 2 to 5."""

    def allowed_bytes(self, source_bytes: int) -> int:
        """The most that a source of this size may unpack to."""
        if self.total_bytes is not None:
            return self.total_bytes
        return max(FREE_BYTES, self.ratio * source_bytes)


class Budget:
    """The remainder of a limit while a source is unpacked.

    Args:
        limits: the limit.
        source_bytes: the size of the source.
        written: its name in messages.
    """

    def __init__(self, limits: UnpackLimits, source_bytes: int, written: str) -> None:
        self._allowed_bytes = limits.allowed_bytes(source_bytes)
        self._left_bytes = self._allowed_bytes
        self._source_bytes = source_bytes
        self._written = written

    def spend(self, count_bytes: int) -> None:
        """Subtract so many bytes.

        Raises:
            SourceError: the limit is exceeded.
        """
        self._left_bytes -= count_bytes
        if self._left_bytes < 0:
            allowed, source = readable_size(self._allowed_bytes), readable_size(self._source_bytes)
            raise SourceError(
                f"'{self._written}' has {source} and unpacks to more than {allowed}",
                hint="if it is to be trusted, say with `max_size` how much it may unpack to",
            )
