"""Types of partitions that say what is in them (the Discoverable Partitions Specification of UAPI)."""

from __future__ import annotations

import platform

ROOTS = {
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "x86-64",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "arm64",
    "44479540-f297-41b2-9af7-d131d5f0458a": "x86",
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3": "arm",
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224": "riscv64",
    "c31c45e6-3f39-412e-80fb-4809c4980599": "ppc64le",
    "5eead9a9-fe09-4a1e-a1d7-520d00531306": "s390x",
    "77055800-792c-4f94-b39a-98c91b762bb6": "loongarch64",
}
"""Root filesystems, each with its architecture."""
BOOT = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
"""The extended boot loader partition, which is mounted on /boot."""
EFI = frozenset({"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"})
"""The EFI system partition, a FAT, which some systems mount on /boot."""
_MACHINES = {"x86_64": "x86-64", "aarch64": "arm64", "i686": "x86", "armv7l": "arm"}

NAMES = {
    **{one: f"Linux root ({architecture})" for one, architecture in ROOTS.items()},
    BOOT: "Linux extended boot",
    **dict.fromkeys(EFI, "EFI system"),
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux filesystem",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "LUKS",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PReP boot",
    "0x82": "Linux swap",
    "0x83": "Linux",
    "0x8e": "Linux LVM",
}
"""Words for the types that Linux disks have."""


def own_architecture() -> str:
    """This host's, as `ROOTS` calls it."""
    machine = platform.machine()
    return _MACHINES.get(machine, machine)
