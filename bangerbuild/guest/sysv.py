"""The initscripts that sysvinit starts: a link `S10network` to each in the directory of a runlevel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bangerbuild.guest.view import GuestView

BOOT_RUNLEVELS = "S2345"
"""Those of a boot: S comes first, then the default one, which is 2, 3 or 5 as the distribution has it."""

MULTI_USER_RUNLEVELS = "2345"
"""Those whose initscripts systemd starts where it has no unit of the name (systemd-sysv-generator(8))."""

_DIRECTORIES = ("/etc/rc.d", "/etc", "/etc/init.d")
"""Red Hat's, Debian's, and that of SUSE of old."""
_START = re.compile(r"S\d\d(.+)")


def started(view: GuestView, runlevels: Iterable[str] = BOOT_RUNLEVELS) -> frozenset[str]:
    """The names of the initscripts that are started in one of these runlevels."""
    directories = (f"{parent}/rc{level}.d" for parent in _DIRECTORIES for level in runlevels)
    matches = (_START.fullmatch(name) for directory in directories for name in view.names(directory))
    return frozenset(match[1] for match in matches if match)
