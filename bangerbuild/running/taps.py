"""Whether a tap device is there, and ours to use."""

from __future__ import annotations

import fcntl
import os
import struct

TUN_DEVICE = "/dev/net/tun"
DEVICES = "/sys/class/net"

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


def trouble(name: str, devices: str = DEVICES, tun: str = TUN_DEVICE) -> str:
    """Why a VM can't use the device, as text for a message; empty: it can.

    The device is looked for first: root would make one that is missing by asking for it.
    """
    device = os.path.join(devices, name)
    if not os.path.exists(device):
        return f"there is no tap device {name}"
    if not os.path.exists(f"{device}/tun_flags"):
        return f"{name} is no tap device"
    try:
        fd = os.open(tun, os.O_RDWR | os.O_CLOEXEC)
    except OSError as err:
        return f"{tun} can't be opened: {(err.strerror or str(err)).lower()}"
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except OSError as err:
        return f"the tap device {name} can't be used: {(err.strerror or str(err)).lower()}"
    finally:
        os.close(fd)
    return ""
