"""Tell whether a line of an fstab names a device that a VM does not have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_TAG = re.compile(r"(LABEL|UUID|PARTLABEL|PARTUUID|ID)=(.*)", re.DOTALL)
"""How fstab(5) names a device by what is on it."""
_LINK = re.compile(r"/dev/disk/by-(label|uuid|partlabel|partuuid|id)/(.*)", re.DOTALL)
_VIRTIO_DISK = re.compile(r"/dev/vd([a-z])")
# The kernel's own name of the root (systemd waits for neither), and devices that need no hardware.
_NO_HARDWARE = re.compile(r"/dev/(root|vfs|fuse|(zram|loop|ram|nbd)[0-9]+)")

_HARMLESS = frozenset(
    {
        *("nofail", "noauto"),
        *("x-systemd.automount", "comment=systemd.automount"),  # mounted when somebody looks there
        "_netdev",  # the network may bring the device
        *("bind", "rbind"),  # of what is mounted already
    }
)
"""Options of a line that stops no boot, or of one whose device is none of the VM's disks."""


@dataclass(frozen=True)
class Devices:
    """The disks of a VM, as an fstab may name them. None of them has partitions."""

    tags: frozenset[str] = frozenset()
    """`LABEL=…` and `UUID=…` of the filesystems on them."""
    disks: int = 1
    """How many there are, the root counted."""

    def lacks(self, source: str, options: Collection[str]) -> bool:
        """Whether a line's source is a device that is not there, and the boot would wait for it."""
        return not _HARMLESS & set(options) and _is_device(source) and not self._has(source)

    def _has(self, source: str) -> bool:
        if disk := _VIRTIO_DISK.fullmatch(source):
            return ord(disk[1]) - ord("a") < self.disks
        if link := _LINK.fullmatch(source):
            return f"{link[1].upper()}={_without_escapes(link[2])}" in self.tags
        if tag := _TAG.fullmatch(source):
            return f"{tag[1]}={_unquoted(tag[2])}" in self.tags
        return _NO_HARDWARE.fullmatch(source) is not None


def _is_device(source: str) -> bool:
    return source.startswith("/dev/") or _TAG.fullmatch(source) is not None


def _unquoted(value: str) -> str:
    """The value of a tag; libmount takes it in quotes too."""
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _without_escapes(name: str) -> str:
    r"""A name below /dev/disk, in which udev writes a blank as `\x20`."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), name)
