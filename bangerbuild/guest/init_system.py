"""Detect the init system of a guest, and enable a systemd unit or an OpenRC script."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from bangerbuild.tree import GuestChange, GuestFile, GuestSymlink

if TYPE_CHECKING:
    from bangerbuild.guest.view import GuestView

UNIT_DIRECTORY = "/etc/systemd/system"


class InitSystem(Enum):
    """The init systems for which start scripts are written."""

    SYSTEMD = "systemd"
    OPENRC = "OpenRC"


_PROGRAMS = (
    ("/usr/lib/systemd/systemd", InitSystem.SYSTEMD),
    ("/lib/systemd/systemd", InitSystem.SYSTEMD),
    ("/sbin/openrc-run", InitSystem.OPENRC),
    ("/usr/sbin/openrc-run", InitSystem.OPENRC),
)


def init_system(view: GuestView) -> InitSystem | None:
    """The guest's init system, systemd if both are installed; None if neither is."""
    return next((init for path, init in _PROGRAMS if view.exists(path)), None)


def enabled_unit(name: str, text: str) -> tuple[GuestChange, ...]:
    """A systemd unit and the link that `systemctl enable` would make for `WantedBy=multi-user.target`."""
    path = f"{UNIT_DIRECTORY}/{name}"
    return (
        GuestFile(path, text.encode()),
        GuestSymlink(f"{UNIT_DIRECTORY}/multi-user.target.wants/{name}", path),
    )


def enabled_script(name: str, text: str) -> tuple[GuestChange, ...]:
    """An OpenRC script and the link that `rc-update add` would make in the runlevel `default`."""
    path = f"/etc/init.d/{name}"
    return (
        GuestFile(path, text.encode(), mode=0o755),
        GuestSymlink(f"/etc/runlevels/default/{name}", path),
    )
