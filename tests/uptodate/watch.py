"""Runs `apply` the slow way, and prints every path that it looked at, one a line.

What is opened or listed the interpreter tells itself (PEP 578), but not below which directory; that, and
what is asked of a path's state, is noted here.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SEEN: set[str] = set()
TOLD = {"open", "os.listdir", "os.scandir"}


def note(path: int | str | bytes | os.PathLike[str], dir_fd: int | None = None) -> None:
    """Remember a path, made whole."""
    if isinstance(path, int):
        return
    text = os.fsdecode(path)
    if dir_fd is not None:
        text = os.path.join(link(f"/proc/self/fd/{dir_fd}"), text)  # noqa: PTH118  # whatever it is
    SEEN.add(os.path.normpath(os.path.join(where(), text)))  # noqa: PTH118


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """See sys.addaudithook."""
    is_noted = event == "open" and arguments[1] is None  # by os.open, as below
    if event in TOLD and arguments[0] is not None and not is_noted:
        note(arguments[0])


def noting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which notes what it is asked about."""

    def noted(path: int | str | bytes | os.PathLike[str], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever it takes
        note(path, options.get("dir_fd"))
        return function(path, *arguments, **options)

    return noted


where, link = os.getcwd, os.readlink

if __name__ == "__main__":
    from bangerbuild import cli

    for name in ("stat", "lstat", "access", "readlink", "open"):
        setattr(os, name, noting(getattr(os, name)))
    sys.addaudithook(audit)
    try:
        sys.exit(cli.run())
    finally:
        print("\n".join(sorted(SEEN)))  # noqa: T201  # that is what it is for
