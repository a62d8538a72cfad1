"""Replace `~` and `~name` at the start of a path by the home directory of a user."""

from __future__ import annotations

from pathlib import Path

from bangerbuild.host import observed

USERS = "/etc/passwd"
"""What user names are looked up in."""


def expanded(text: str) -> Path:
    """The path with the home directory in place of its `~`.

    Raises:
        RuntimeError: there is no such user.
    """
    if not text.startswith("~"):  # `expanduser` would take `./~`, a file of that name, for a home
        return Path(text)
    observed.look(USERS)
    return Path(text).expanduser()
