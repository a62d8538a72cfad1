"""What tests of formats write into a new root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk.layers import Layers, OwnFile, OwnLayer, SharedLayer
from tests.fakes import EPOCH

if TYPE_CHECKING:
    from bangerbuild.disk.opened import OpenedDisk


def layers(name: str, *, shared: str = "alike", size_bytes: int = 0) -> Layers[str, str]:
    """`/shared`, which other roots get too, and `/name`."""

    def write_shared(disk: OpenedDisk) -> str:
        disk.write_file("/shared", shared.encode())
        return shared

    def write_own(disk: OpenedDisk, below: tuple[str, ...]) -> str:
        disk.write_file("/name", name.encode())
        return ", ".join(below)

    own = OwnLayer("own", (OwnFile("/name", name.encode(), EPOCH * 10**9),), write_own)
    return Layers((SharedLayer(shared, write_shared, size_bytes),), own)
