"""The files that set up a network, under their names in its directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.bridging import networkd, nftables, scripts
from bangerbuild.launch.files import LaunchFile

if TYPE_CHECKING:
    from bangerbuild.bridging.bridge import Bridge

UP = "up.sh"
SCRIPTS = (UP, "down.sh")


def names(bridge: Bridge) -> tuple[str, ...]:
    """The names of a network's files."""
    return (*SCRIPTS, *((nftables.NAME,) if bridge.nat else ()), *networkd.names(bridge))


def is_ours(name: str) -> bool:
    """Whether a file of a network's directory has a name that such files have."""
    return name in (*SCRIPTS, nftables.NAME) or networkd.is_ours(name)


def files(bridge: Bridge, user: int) -> tuple[LaunchFile, ...]:
    """The files, in the order of their names above; see `networkd.texts` for the user."""
    texts = [scripts.up(bridge), scripts.down(bridge)]
    texts += [nftables.rules(bridge)] if bridge.nat else []
    texts += networkd.texts(bridge, user)
    return tuple(LaunchFile(name, text) for name, text in zip(names(bridge), texts, strict=True))
