"""The registry of disk formats: a new one is a module here, a line below, a word in the schema, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk.formats.overlay import Overlay
from bangerbuild.disk.formats.qcow2 import Qcow2
from bangerbuild.disk.formats.raw import Raw
from bangerbuild.disk.formats.snapshot import Snapshot
from bangerbuild.errors import StoreError

if TYPE_CHECKING:
    from bangerbuild.disk.formats.format import DiskFormat

RAW = Raw()
"""What work and data disks are, and images."""

FORMATS: dict[str, DiskFormat] = {
    "snapshot": Snapshot(),
    "qcow2": Qcow2(),
    "overlay": Overlay(),
    "raw": RAW,
}


def named(name: str) -> DiskFormat:
    """The format of that name.

    Raises:
        StoreError: there is none.
    """
    if name not in FORMATS:
        raise StoreError(
            f"a disk in the store has the format '{name}', which this version does not know",
            hint="the store was written by another version of bangerbuild: use that one",
        )
    return FORMATS[name]


def is_disk(artifact: str) -> bool:
    """Whether a file of that name holds a filesystem, alone or with its base; also one that a user named."""
    return artifact.endswith(tuple(one.suffix for one in FORMATS.values()))


def of_suffix(suffix: str) -> DiskFormat:
    """The format whose files are named with that suffix.

    Raises:
        StoreError: there is none.
    """
    found = next((one for one in FORMATS.values() if one.suffix == suffix), None)
    if found is None:
        raise StoreError(
            f"a disk in the store is a file '*{suffix}', which is of no format that this version knows",
            hint="the store was written by another version of bangerbuild: use that one",
        )
    return found


def recognised(head: bytes) -> DiskFormat:
    """The format of a disk that begins with these bytes; one without a header of its own is raw."""
    return next((one for one in FORMATS.values() if one.recognises(head)), RAW)


def standing_on_base() -> tuple[DiskFormat, ...]:
    """The formats whose disks are of no use without their image."""
    return tuple(one for one in FORMATS.values() if one.stands_on_base)
