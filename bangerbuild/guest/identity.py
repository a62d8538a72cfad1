"""Remove the image's machine-id and SSH host keys from a new root, so that each machine makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.init_system import InitSystem, enabled_unit, init_system
from bangerbuild.tree import GuestChange, GuestEdits, GuestFile, GuestRemoval, GuestSymlink

if TYPE_CHECKING:
    from bangerbuild.guest.view import GuestView

MACHINE_ID = "/etc/machine-id"
DBUS_MACHINE_ID = "/var/lib/dbus/machine-id"
HOST_KEYS = "/etc/ssh/ssh_host_*"
HOST_KEYS_UNIT = "bangerbuild-host-keys.service"

# Fedora and Arch have units that make keys: this unit is after them, finds the keys and does nothing.
# ssh.socket is not ordered against this unit: it is before basic.target, which this unit is after.
_UNIT_TEXT = """\
[Unit]
Description=Make the SSH host keys of this machine
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
ConditionFileIsExecutable=/usr/bin/ssh-keygen
After=sshd-keygen.target sshdgenkeys.service
Before=ssh.service sshd.service

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""

_NO_KEYS_WARNING = (
    "the image's SSH host keys are removed, and it has neither systemd nor OpenRC to make new ones: "
    "run 'ssh-keygen -A' before sshd"
)


def fresh_identity(view: GuestView) -> GuestEdits:
    """The changes to a root that was just made from its base; a root that was booted must keep its keys."""
    return GuestEdits.joined((_machine_id(view), _host_keys(view)))


def _machine_id(view: GuestView) -> GuestEdits:
    """Empty the machine-id, which systemd sets at boot (machine-id(5)), and handle D-Bus's copy of it.

    Without the file systemd would start its first-boot setup, so an empty one is written. Without systemd
    nothing sets the id, but D-Bus makes one if its own file is missing (not if it is a symlink), so that file
    is removed.
    """
    has_systemd = init_system(view) is InitSystem.SYSTEMD
    changes: list[GuestChange] = []
    if has_systemd or view.exists(MACHINE_ID):
        changes.append(GuestFile(MACHINE_ID, b"", mode=0o444))
    if view.exists(DBUS_MACHINE_ID):
        link = GuestSymlink(DBUS_MACHINE_ID, MACHINE_ID)
        changes.append(link if has_systemd else GuestRemoval(DBUS_MACHINE_ID))
    return GuestEdits(tuple(changes))


def _host_keys(view: GuestView) -> GuestEdits:
    """Remove the host keys; OpenRC's sshd script makes new ones, for systemd a unit is added."""
    removal = GuestRemoval(HOST_KEYS)
    match init_system(view):
        case InitSystem.SYSTEMD:
            return GuestEdits((removal, *enabled_unit(HOST_KEYS_UNIT, _UNIT_TEXT)))
        case InitSystem.OPENRC:
            return GuestEdits((removal,))
        case None:
            return GuestEdits((removal,), (_NO_KEYS_WARNING,) if view.exists("/usr/sbin/sshd") else ())
