"""`cloud-hypervisor.sh`: cloud-hypervisor has no configuration file, only options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.launch import cmdline, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.formats.values import Drive
    from bangerbuild.launch.machine import Boot, Machine

NAME = "cloud-hypervisor"
"""As formats of disks name it."""

COMMENT = """\
Starts the VM {name} under cloud-hypervisor. The serial console is on this terminal.
Arguments are passed on to cloud-hypervisor; paths among them are relative to this directory.
"""


def script(machine: Machine, boot: Boot) -> str:
    """The file's text."""
    command = shell.command("cloud-hypervisor", _options(machine, boot))
    comment = COMMENT.format(name=machine.name)
    return f"{shell.head(comment)}{shell.WHOLE}{shell.attached_check(machine)}\n{command}"


def _options(machine: Machine, boot: Boot) -> Iterator[tuple[str, ...]]:
    yield "--cpus", f"boot={boot.vcpus}"
    yield "--memory", f"size={boot.memory_mib}M"
    yield "--kernel", boot.vmlinux
    if boot.initrd:
        yield "--initramfs", boot.initrd
    yield "--cmdline", cmdline.with_root(boot.cmdline, is_read_only=machine.drives[0].is_read_only)
    # One option for all: older versions know no second --disk. And a guest that writes the header of another
    # format must not have it believed at the next start.
    yield "--disk", *map(_disk, machine.drives)
    if boot.card.tap:
        yield "--net", f"tap={boot.card.tap},mac={boot.card.mac}"
    yield "--serial", "tty"
    yield "--console", "off"


def _disk(drive: Drive) -> str:
    read_only = ",readonly=on" if drive.is_read_only else ""
    return f"path={drive.path},image_type={drive.image_type}{read_only}{shell.drive_options(NAME, drive)}"
