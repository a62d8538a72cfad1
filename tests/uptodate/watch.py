"""Runs `apply` the slow way, and prints every path that it looked at, one a line.

What is opened or listed the interpreter tells itself (PEP 578), but not below which directory; that, and
what is asked of a path's state, is noted here. A path that is opened or listed before `observed` had it noted
is printed once more, with UNNOTED in front.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from bangerbuild.host import observed

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN: set[str] = set()
UNNOTED = "unnoted: "
TOLD = {"open", "os.listdir", "os.scandir"}


def whole(path: int | str | bytes | os.PathLike[str], dir_fd: int | None = None) -> str | None:
    """A path from the root on; None if it is a descriptor."""
    if isinstance(path, int):
        return None
    text = os.fsdecode(path)
    if dir_fd is not None:
        text = os.path.join(link(f"/proc/self/fd/{dir_fd}"), text)  # noqa: PTH118  # whatever it is
    return os.path.normpath(os.path.join(where(), text))  # noqa: PTH118


def note(path: str | None, *, is_read: bool = False) -> None:
    """Remember a path, and whether its content is read before it was noted."""
    if path is not None:
        SEEN.add(path)
        if is_read and path not in noted_paths():
            SEEN.add(f"{UNNOTED}{path}")


def noted_paths() -> set[str | None]:
    """What `observed` has noted up to now."""
    recorder = observed._recorder.get()
    return set(map(whole, (*recorder.followed, *recorder.links))) if recorder else set()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """See sys.addaudithook."""
    is_noted = event == "open" and arguments[1] is None  # by os.open, as below
    if event in TOLD and arguments[0] is not None and not is_noted:
        note(whole(arguments[0]), is_read=True)


def noting(function: Callable[..., Any], *, is_read: bool) -> Callable[..., Any]:
    """The same function, which notes what it is asked about."""

    def noted(path: int | str | bytes | os.PathLike[str], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever it takes
        note(whole(path, options.get("dir_fd")), is_read=is_read)
        return function(path, *arguments, **options)

    return noted


where, link = os.getcwd, os.readlink

if __name__ == "__main__":
    from bangerbuild import cli

    for name in ("stat", "lstat", "access", "readlink", "open"):
        setattr(os, name, noting(getattr(os, name), is_read=name == "open"))
    sys.addaudithook(audit)
    try:
        sys.exit(cli.run())
    finally:
        print("\n".join(sorted(SEEN)))  # noqa: T201  # that is what it is for
