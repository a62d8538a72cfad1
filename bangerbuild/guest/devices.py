"""Tell whether a line of an fstab names a device or filesystem that a VM does not have."""

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
# The kernel's own name of the root (systemd waits for neither), and a device that is no disk.
_NO_DISK = re.compile(r"/dev/(root|vfs|fuse)")
_EMPTY = re.compile(r"/dev/(zram|loop|ram|nbd)[0-9]+(p[0-9]+)?")
"""Devices that hold nothing at boot, if nothing has set them up."""

_FSTYPES = frozenset({"9p", "virtiofs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "zfs"})
"""Filesystems that a VM does not have: shares of a host, and pools on disks that are not there."""
_JOINED = "overlay"
"""What the kernel calls a filesystem that is joined of two."""
_TRANSPORTS = ("trans=tcp", "trans=unix", "trans=fd", "trans=rdma")
"""Options of a 9p filesystem that is no share of the host."""
_SETS_UP = ("x-systemd.requires=", "x-systemd.makefs")
"""Options that name what sets a device up before it is mounted."""

STOPS_NO_BOOT = frozenset(
    {
        *("nofail", "noauto"),
        *("x-systemd.automount", "comment=systemd.automount"),  # mounted when somebody looks there
        "_netdev",  # the network may bring the device
    }
)
"""Options of a line that the boot does not wait for."""
_HARMLESS = STOPS_NO_BOOT | {"bind", "rbind"}
"""With those of a line whose source is mounted already, and no device."""


@dataclass(frozen=True)
class Lack:
    """Why a line of an fstab can't be in force."""

    comment: str
    """What the comment above the line says."""
    reason: str
    """What a warning says of it, with names."""


@dataclass(frozen=True)
class RootDevices:
    """The disks that a VM's root is on."""

    tags: frozenset[str] = frozenset()
    """`LABEL=…` and `UUID=…` of the filesystem that the guest's system is on."""
    count: int = 1
    is_mounted: bool = True
    """Whether that filesystem itself is mounted on /; else the guest joins several there."""


@dataclass(frozen=True)
class Devices:
    """The disks of a VM, as an fstab may name them. None of them has partitions."""

    tags: frozenset[str] = frozenset()
    """`LABEL=…` and `UUID=…` of the filesystems on them."""
    disks: int = 1
    """How many there are, the root counted."""
    mounts_root: bool = True
    """Whether one of them is mounted on /; see `RootDevices`."""

    def lack_of_root(self, source: str, fstype: str) -> Lack | None:
        """Why a line for / does not hold: its options are for the filesystem of a disk, and / is none."""
        if self.mounts_root or fstype == _JOINED:
            return None
        return Lack(
            "/ is joined of two disks in this VM, and no device is mounted there",
            f"/ is joined of two disks in this VM, and '{source}' is not mounted there",
        )

    def lack(self, source: str, fstype: str, options: Collection[str]) -> Lack | None:
        """Why a line would stop the boot: what it mounts is not there. None if it stops nothing."""
        if _HARMLESS & set(options):
            return None
        if fstype in _FSTYPES and not any(option.startswith(_TRANSPORTS) for option in options):
            return _no_filesystem(source, fstype)
        if _EMPTY.fullmatch(source):
            is_set_up = any(option.startswith(_SETS_UP) for option in options)
            return None if is_set_up or _is_zram_swap(source, fstype) else _empty(source)
        return _no_device(source) if _is_device(source) and not self._has(source) else None

    def _has(self, source: str) -> bool:
        if disk := _VIRTIO_DISK.fullmatch(source):
            return ord(disk[1]) - ord("a") < self.disks
        if link := _LINK.fullmatch(source):
            return f"{link[1].upper()}={_without_escapes(link[2])}" in self.tags
        if tag := _TAG.fullmatch(source):
            return f"{tag[1]}={_unquoted(tag[2])}" in self.tags
        return _NO_DISK.fullmatch(source) is not None


def _no_device(source: str) -> Lack:
    return Lack(
        "this VM has no such device, and the boot would wait for it",
        f"this VM has no device '{source}', and the boot would wait for it",
    )


def _no_filesystem(source: str, fstype: str) -> Lack:
    return Lack(
        "this VM has no such filesystem, and the boot would stop",
        f"this VM has no {fstype} filesystem '{source}', and the boot would stop",
    )


def _empty(source: str) -> Lack:
    return Lack(
        "nothing sets up this device first, and the boot would stop",
        f"nothing sets up '{source}' first, and the boot would stop",
    )


def _is_zram_swap(source: str, fstype: str) -> bool:
    """Whether it is swap that zram-generator or a like service sets up."""
    return fstype == "swap" and source.startswith("/dev/zram")


def _is_device(source: str) -> bool:
    return source.startswith("/dev/") or _TAG.fullmatch(source) is not None


def _unquoted(value: str) -> str:
    """The value of a tag; libmount takes it in quotes too."""
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _without_escapes(name: str) -> str:
    r"""A name below /dev/disk, in which udev writes a blank as `\x20`."""
    return re.sub(r"\\x([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), name)
