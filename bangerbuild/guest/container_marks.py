"""Remove the files by which programs know that they are in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.tree import GuestEdits, GuestRemoval

if TYPE_CHECKING:
    from bangerbuild.guest.view import GuestView

MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
"""What Docker, Podman and systemd-nspawn leave, and systemd looks for; the rest of `/run` is gone at boot."""


def removals(view: GuestView, written: str) -> GuestEdits:
    """The changes to an image that a container was exported to; `written` is its name in messages."""
    found = tuple(path for path in MARKS if view.exists(path))
    return GuestEdits(
        tuple(map(GuestRemoval, found)),
        tuple(
            f"'{path}' of '{written}' is left out: with it an init takes the VM for a container"
            for path in found
        ),
    )
