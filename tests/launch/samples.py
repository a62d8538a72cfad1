"""Machines that several tests start: a snapshot root with all there is, and the least."""

from __future__ import annotations

from bangerbuild.disk.attachment import Drive
from bangerbuild.disk.formats import FORMATS
from bangerbuild.launch import cmdline
from bangerbuild.launch.machine import Boot, Card, Machine

IMAGE = "../../images/bookworm"
SNAPSHOT = FORMATS["snapshot"].attachment("root.cow", f"{IMAGE}/cc/rootfs.ext4")
RAW = FORMATS["raw"].attachment("root.ext4", f"{IMAGE}/cc/rootfs.ext4")

WEB_CARD = Card("06:00:ac:10:00:0a", "tap-web", "172.16.0.10/24", "172.16.0.1")
WEB_BOOT = Boot(
    kernel=f"{IMAGE}/aa/vmlinuz",
    vmlinux=f"{IMAGE}/aa/vmlinux",
    initrd=f"{IMAGE}/bb/initrd.img",
    cmdline=cmdline.DEFAULT,
    vcpus=2,
    memory_mib=1024,
    card=WEB_CARD,
)
WEB = Machine(
    name="web",
    root=SNAPSHOT,
    disks=(Drive("work.ext4"), Drive("my-data.ext4")),
    boot=WEB_BOOT,
)
"""A snapshot root, a work disk, a data disk, a kernel with its initrd, and a network."""

PLAIN_BOOT = Boot(
    f"{IMAGE}/aa/vmlinuz", f"{IMAGE}/aa/vmlinux", None, "quiet", 1, 512, Card("06:01:00:00:00:01")
)
PLAIN = Machine("plain", RAW, (), PLAIN_BOOT)
"""A raw root, a kernel that needs no initrd, and no network."""

DISKS_ONLY = Machine("disks", SNAPSHOT)
"""No kernel: somebody else starts it."""
