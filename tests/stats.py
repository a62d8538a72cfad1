"""What `stat` says of a file, to be compared before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def stat_but_atime(path: Path) -> dict[str, int]:
    """All of `lstat` but the time of the last access, which any reader may move, and any pause after it."""
    found = path.lstat()
    return {
        name: getattr(found, name)
        for name in dir(found)
        if name.startswith("st_") and not name.startswith("st_atime")
    }
