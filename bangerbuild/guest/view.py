"""`GuestView`, the Protocol to read a guest's files before a patch is computed. Paths are absolute."""

from __future__ import annotations

from typing import Protocol


class GuestView(Protocol):
    """A guest's filesystem, to be read. Parents and the last component are followed inside the guest."""

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None only where there is no such file.

        Raises:
            FilesystemError: it is there and can't be read.
        """

    def exists(self, path: str) -> bool:
        """Whether something of any type is there."""

    def mode(self, path: str) -> int | None:
        """The permission bits (07777) of what is there; None where nothing is."""
