"""The registry of disk formats: a new one is a module here, a line below, a word in the schema, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    """Whether a file of that name holds a filesystem, alone or with its base."""
    return artifact.endswith(tuple(one.suffix for one in FORMATS.values()))


def of_file(artifact: str) -> DiskFormat:
    """The format of a disk of which only the file's name is known.

    Raises:
        StoreError: no format has files of such a name.
    """
    found = [one for one in FORMATS.values() if artifact.endswith(one.suffix)]
    if not found:
        raise StoreError(
            f"'{artifact}' is a disk of no format that this version knows",
            hint="the store was written by another version of bangerbuild: use that one",
        )
    return max(found, key=lambda one: len(one.suffix))


def recognised(head: bytes) -> DiskFormat:
    """The format of a disk that begins with these bytes; one without a header of its own is raw."""
    return next((one for one in FORMATS.values() if one.recognises(head)), RAW)


def standing_on_base() -> tuple[DiskFormat, ...]:
    """The formats whose disks are of no use without their image."""
    return tuple(one for one in FORMATS.values() if one.stands_on_base)
