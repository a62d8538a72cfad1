"""`firecracker.json`: what `firecracker --config-file` takes, to be started in the VM's directory.

The keys are those of Firecracker's API (src/firecracker/swagger/firecracker.yaml). It adds `root=/dev/vda rw`
to the command line itself, for the drive that is the root device.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.launch.machine import Boot, Card, Machine


NAME = "firecracker"
"""As formats of disks name it."""


def config(machine: Machine, boot: Boot) -> str:
    """The file's text."""
    document = {
        "boot-source": _boot_source(boot),
        "drives": list(_drives(machine)),
        "machine-config": {"vcpu_count": boot.vcpus, "mem_size_mib": boot.memory_mib, "smt": False},
        "network-interfaces": _interfaces(boot.card),
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def refusal(why: str) -> str:
    """The file's text where Firecracker can't start the VM: it refuses such a file, which says why."""
    return json.dumps({"refused": f"Firecracker can't start this VM: {why}"}, indent=2) + "\n"


def _boot_source(boot: Boot) -> dict[str, str]:
    source = {"kernel_image_path": boot.vmlinux, "boot_args": boot.cmdline}
    return source | ({"initrd_path": boot.initrd} if boot.initrd else {})


def _drives(machine: Machine) -> Iterator[dict[str, Any]]:
    for number, drive in enumerate(machine.drives):
        yield {
            # An id has letters, digits and underscores; a disk's name may have others.
            "drive_id": f"drive{number}",
            "path_on_host": drive.path,
            "is_root_device": number == 0,
            "is_read_only": drive.is_read_only,
            "cache_type": "Writeback",  # the default, Unsafe, ignores a guest's flushes
            **drive.options.get(NAME, {}),
        }


def _interfaces(card: Card) -> list[dict[str, str]]:
    if card.tap is None:
        return []
    return [{"iface_id": "eth0", "host_dev_name": card.tap, "guest_mac": card.mac}]
