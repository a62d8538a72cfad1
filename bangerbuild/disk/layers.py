"""The content of a new disk as values, in layers: first what several disks share, last what is its own.

The order is always the same, so that a disk's bytes do not depend on which others are made with it. Equal
keys mean equal bytes: what has the same deduplication keys may be written once and shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.disk.opened import OpenedDisk

S = TypeVar("S")
W = TypeVar("W")


@dataclass(frozen=True)
class SharedLayer(Generic[S]):
    """What other disks may get too."""

    key: object
    """What decides its bytes, over the same base and the same layers below."""
    write: Callable[[OpenedDisk], S]
    """Called once for all disks that share it; what it returns is given to each of them."""
    size_bytes: int = 0
    """About how much it brings."""


@dataclass(frozen=True)
class OwnLayer(Generic[S, W]):
    """What one disk gets for itself."""

    key: object
    """What decides its bytes, but for the content of `files`."""
    files: tuple[tuple[str, bytes], ...]
    """Paths of regular files that it writes, and what they hold."""
    write: Callable[[OpenedDisk, tuple[S, ...]], W]
    """Given what the layers below returned. Called once for all disks that differ in content only."""

    def template_key(self, block_bytes: int) -> object:
        """Equal for layers whose files take as many blocks each."""
        return self.key, tuple((path, -(-len(content) // block_bytes)) for path, content in self.files)


@dataclass(frozen=True)
class Layers(Generic[S, W]):
    """All that a new disk gets, in the order in which it is written."""

    shared: tuple[SharedLayer[S], ...]
    own: OwnLayer[S, W]

    @property
    def shared_key(self) -> object:
        """What decides the bytes of all shared layers."""
        return tuple(layer.key for layer in self.shared)

    @property
    def shared_bytes(self) -> int:
        """About how much they bring."""
        return sum(layer.size_bytes for layer in self.shared)


@dataclass(frozen=True)
class Written(Generic[S, W]):
    """What writing the layers returned."""

    shared: tuple[S, ...]
    own: W


def write(disk: OpenedDisk, layers: Layers[S, W]) -> Written[S, W]:
    """Write all layers into one disk."""
    shared = write_shared(disk, layers)
    return Written(shared, layers.own.write(disk, shared))


def write_shared(disk: OpenedDisk, layers: Layers[S, W]) -> tuple[S, ...]:
    """Write the shared layers."""
    return tuple(layer.write(disk) for layer in layers.shared)
