"""`GuestView`, the Protocol to read a guest's files before a patch is computed. Paths are absolute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from bangerbuild.guest.devices import RootDevices

_T = TypeVar("_T")


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

    def names(self, path: str) -> tuple[str, ...]:
        """The names in a directory, sorted; empty where there is none."""

    def link(self, path: str) -> str | None:
        """The text of the symlink that is there, which is not followed; None of anything else."""

    def once(self, question: Hashable, answer: Callable[[GuestView], _T]) -> _T:
        """What `answer` works out of the image alone; asked once for all VMs that share the image."""

    def root_devices(self) -> RootDevices:
        """The devices of the root filesystem, as an fstab may name them."""
