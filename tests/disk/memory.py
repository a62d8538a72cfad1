"""A disk in memory that can be read and written, as a RawFile can."""

from __future__ import annotations

from bangerbuild.errors import FilesystemError


class Memory:
    """A Blocks over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.name = "disk"
        self.place: str | None = None
        self.size_bytes = len(data)
        self.writable = True
        self.reads = 0
        """How often it was asked."""

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        self.reads += 1
        if offset + length > self.size_bytes:
            raise FilesystemError(f"'disk' ends before byte {offset + length}")
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks."""
        if offset + len(data) > self.size_bytes:
            raise FilesystemError(f"'disk' ends before byte {offset + len(data)}")
        self.data[offset : offset + len(data)] = data

    def flush(self) -> None:
        """See Blocks."""
