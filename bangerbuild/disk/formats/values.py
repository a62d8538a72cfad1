"""What disk formats are told and what they tell: plain values, and what they need of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

T = TypeVar("T")


@dataclass(frozen=True)
class Base:
    """The image that a disk stands on, or that it is made from."""

    path: Path
    name: str
    """Relative to the store, wherever that lies; a disk may be marked with it."""


@dataclass(frozen=True)
class StoredDisk:
    """A disk's file."""

    path: Path
    name: str
    """What messages call it: its path relative to the store."""
    base: Base | None = None
    """None where the format needs none to read the disk."""


class DiskJob(Protocol):
    """What a format needs of the job that makes or changes a disk."""

    @property
    def epoch(self) -> int:
        """Seconds since 1970 for every time that is set."""

    @property
    def fingerprint(self) -> str:
        """Of the recipe that is being made; what a new filesystem's UUID is made of."""

    @property
    def staging(self) -> Path:
        """A private directory."""

    def path(self, artifact: str) -> Path:
        """Where the file of that name is now: in staging, or in the store."""

    def copy(self, artifact: str, *, sharing: bool) -> Path | None:
        """A private copy of a file, to be published in its place.

        With `sharing`, None where the filesystem can't share blocks between the two.
        """

    def in_place(self, artifact: str) -> AbstractContextManager[Path]:
        """A file to be changed where it lies, which nobody else has open."""

    def has_digest(self, artifact: str, digest: str) -> None:
        """Take the digest of a file that was just written, see `clone.digest`."""

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What all jobs of a run share: made by the first that asks, closed when the run ends."""

    def using(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> AbstractContextManager[T]:
        """The same of what there may be many of: closed when nobody has used it for a while."""

    def warn(self, message: str) -> None:
        """Say something that deserves attention but stops nothing."""


@dataclass(frozen=True)
class SizeRule:
    """How `size` of a root of this format is read."""

    least_bytes: int
    too_small: str
    """What a smaller one is, in words."""
    hint: str
    is_whole_blocks: bool
    """Whether it is a multiple of ext4's 4096 bytes."""
    is_of_clone: bool
    """Whether the disk starts as a copy of its image, and so is no smaller."""
    most_bytes: int | None = None
    """What the format can hold; None: more than any manifest asks for."""
    is_of_filesystem: bool = True
    """Whether it is that of the filesystem, which else has that of its image."""
    default_bytes: int | None = None
    """What is made where no size is given; None: as much as the image needs."""


SIZE_OF_DISK = SizeRule(
    least_bytes=16 << 20,
    too_small="too small a disk",
    hint="give at least 16MiB",
    is_whole_blocks=True,
    is_of_clone=True,
)
"""Where `size` is that of the disk which the guest sees."""
