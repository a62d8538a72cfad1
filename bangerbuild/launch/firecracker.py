"""`firecracker.json`: what `firecracker --config-file` takes, to be started in the VM's directory.

The keys are those of Firecracker's API (src/firecracker/swagger/firecracker.yaml). It adds `root=/dev/vda rw`
to the command line itself, for the drive that is the root device.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bangerbuild.launch.session import API_SOCKET, RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.launch.machine import Boot, Machine
    from bangerbuild.launch.session import Session


NAME = "firecracker"
"""As formats of disks name it."""
PROGRAM = "firecracker"
CONFIG = "firecracker.json"


def config(machine: Machine, boot: Boot) -> str:
    """The file's text."""
    return _config(machine, boot, boot.card.tap)


def session_files(machine: Machine, boot: Boot, session: Session) -> dict[str, str]:
    """The configuration as `boot` wants it: with the network that was chosen."""
    return {CONFIG: _config(machine, boot, boot.card.tap if session.network == "tap" else None)}


def arguments(machine: Machine, boot: Boot, session: Session) -> Iterator[tuple[str, ...]]:  # noqa: ARG001  # all else is in the configuration
    """Its console is on its standard input and output, its API a socket."""
    yield "--api-sock", API_SOCKET
    yield "--config-file", f"{RUN}/{CONFIG}"
    yield session.arguments


def _config(machine: Machine, boot: Boot, tap: str | None) -> str:
    document = {
        "boot-source": _boot_source(boot),
        "drives": list(_drives(machine)),
        "machine-config": {"vcpu_count": boot.vcpus, "mem_size_mib": boot.memory_mib, "smt": False},
        "network-interfaces": _interfaces(tap, boot.card.mac),
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


def _interfaces(tap: str | None, mac: str) -> list[dict[str, str]]:
    return [{"iface_id": "eth0", "host_dev_name": tap, "guest_mac": mac}] if tap else []
