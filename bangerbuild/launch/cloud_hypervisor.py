"""cloud-hypervisor, which has no configuration file, only options; `cloud-hypervisor.sh` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.launch import cmdline, shell
from bangerbuild.launch.session import API_SOCKET, CONSOLE_LOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.attachment import Drive
    from bangerbuild.launch.machine import Boot, Machine
    from bangerbuild.launch.session import Session

NAME = "cloud-hypervisor"
"""As formats of disks name it."""
PROGRAM = "cloud-hypervisor"

COMMENT = """\
Starts the VM {name} under cloud-hypervisor. The serial console is on this terminal.
Arguments are passed on to cloud-hypervisor; paths among them are relative to this directory.
"""


def script(machine: Machine, boot: Boot) -> str:
    """The file's text."""
    command = shell.command(PROGRAM, _options(machine, boot, boot.card.tap, "tty"))
    comment = COMMENT.format(name=machine.name)
    return f"{shell.head(comment)}{shell.WHOLE}{shell.attached_check(machine)}\n{command}"


def arguments(machine: Machine, boot: Boot, session: Session) -> Iterator[tuple[str, ...]]:
    """Those of the same machine as `boot` starts it, with its console on a terminal or in a file."""
    tap = boot.card.tap if session.network == "tap" else None
    serial = "tty" if session.attached else f"file={CONSOLE_LOG}"
    yield from _options(machine, boot, tap, serial)
    yield "--api-socket", f"path={API_SOCKET}"
    yield session.arguments


def _options(machine: Machine, boot: Boot, tap: str | None, serial: str) -> Iterator[tuple[str, ...]]:
    yield "--cpus", f"boot={boot.vcpus}"
    yield "--memory", f"size={boot.memory_mib}M"
    yield "--kernel", boot.vmlinux
    if boot.initrd:
        yield "--initramfs", boot.initrd
    yield "--cmdline", cmdline.with_root(boot.cmdline, is_read_only=machine.drives[0].is_read_only)
    # One option for all: older versions know no second --disk. And a guest that writes the header of another
    # format must not have it believed at the next start.
    yield "--disk", *map(_disk, machine.drives)
    if tap:
        yield "--net", f"tap={tap},mac={boot.card.mac}"
    yield "--serial", serial
    yield "--console", "off"


def _disk(drive: Drive) -> str:
    read_only = ",readonly=on" if drive.is_read_only else ""
    return f"path={drive.path},image_type={drive.image_type}{read_only}{shell.drive_options(NAME, drive)}"
