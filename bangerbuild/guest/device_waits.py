"""Find what else of an image would wait for a device at boot: `/etc/crypttab`, units for mounts and swap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bangerbuild.errors import FilesystemError
from bangerbuild.guest.devices import STOPS_NO_BOOT
from bangerbuild.guest.init_system import UNIT_DIRECTORY, InitSystem, init_system
from bangerbuild.guest.services import BOOT_UNITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bangerbuild.guest.devices import Devices
    from bangerbuild.guest.view import GuestView

CRYPTTAB = "/etc/crypttab"
_TARGETS = BOOT_UNITS | {"swap.target"}
_SETTING = re.compile(r"^[ \t]*(What|Type|Options)[ \t]*=[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)


def warnings(view: GuestView, devices: Devices, taken: Collection[str]) -> Iterator[str]:
    """Yield a warning for each entry or unit of the image that waits for what the VM does not have.

    Only systemd waits. The files are the image's own and stay as they are.

    Args:
        view: the image.
        devices: what the VM has.
        taken: the paths of declared files, which take the place of the image's.
    """
    if init_system(view) is InitSystem.SYSTEMD:
        if CRYPTTAB not in taken:
            yield from _of_crypttab(_text(view, CRYPTTAB), devices)
        for unit in _started(view):
            path = f"{UNIT_DIRECTORY}/{unit}"
            if path not in taken:
                yield from _of_unit(path, _unit_text(view, unit), devices)


def _of_crypttab(text: str, devices: Devices) -> Iterator[str]:
    for line in text.split("\n"):
        name, source, _key, options, *_ = (*line.split(), "", "", "", "")
        given = options.split(",")
        if name.startswith("#") or STOPS_NO_BOOT & set(given):
            continue
        if lack := devices.lack(source, "", given):
            yield f"'{name}' of the image's '{CRYPTTAB}' is opened at boot: {lack.reason} (add nofail to it)"


def _of_unit(path: str, text: str, devices: Devices) -> Iterator[str]:
    settings = dict(_SETTING.findall(text))
    source = settings.get("What", "")
    fstype = "swap" if path.endswith(".swap") else settings.get("Type", "")
    # In a unit, unlike in a line of an fstab, these are options of the mount alone: the boot waits.
    options = set(settings.get("Options", "").split(",")) - STOPS_NO_BOOT
    if lack := devices.lack(source, fstype, options):
        yield f"the image's '{path}' is started at boot: {lack.reason}"


def _started(view: GuestView) -> tuple[str, ...]:
    """The units for mounts and swap that a target of the boot has links to."""
    units: set[str] = set()
    for directory in view.names(UNIT_DIRECTORY):
        target, _, kind = directory.rpartition(".")
        if target in _TARGETS and kind in {"wants", "requires"}:
            units |= set(view.names(f"{UNIT_DIRECTORY}/{directory}"))
    return tuple(sorted(unit for unit in units if unit.endswith((".mount", ".swap"))))


def _unit_text(view: GuestView, unit: str) -> str:
    """The unit in /etc, which comes before all others; empty if it is masked or elsewhere."""
    path = f"{UNIT_DIRECTORY}/{unit}"
    return "" if view.link(path) == "/dev/null" else _text(view, path)


def _text(view: GuestView, path: str) -> str:
    """The text of a file; empty if there is none. One that can't be read is no reason to stop: it stays."""
    try:
        return (view.read(path) or b"").decode("utf-8", "surrogateescape")
    except FilesystemError:
        return ""
