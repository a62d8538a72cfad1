"""Starts bangerbuild as a drill's starter does, with each sync marked by the place that asks for it.

A place is named by the functions that lead to the sync, from the first one that is no mere means of syncing:
`redo_log.LogWriter.seal > durable.sync_one`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Any

from bangerbuild.disk import durable
from tests.drills import starter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MEANS = ("bangerbuild.disk.durable", "bangerbuild.disk.blocks")
"""Modules whose functions sync for others."""


def place(frame: FrameType | None) -> str:
    """Where in the program a frame is."""
    names: list[str] = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("bangerbuild."):
            names.insert(0, f"{module.rpartition('.')[2]}.{frame.f_code.co_qualname}")
            if module not in MEANS:
                break
        frame = frame.f_back
    return " > ".join(names)


def marking(sync: Callable[..., Any], mark: Callable[[bytes], None]) -> Callable[..., Any]:
    """A call that syncs, which says first who asks for it."""

    def marked(*arguments: object) -> Any:  # noqa: ANN401  # as the call has it
        mark(place(sys._getframe(1)).encode())
        return sync(*arguments)

    return marked


def main() -> None:
    """Mark the syncs and answer until stdin ends."""
    mark = ctypes.CDLL(None).powercut_place
    mark.argtypes, mark.restype = (ctypes.c_char_p,), None
    vars(os).update(fsync=marking(os.fsync, mark), fdatasync=marking(os.fdatasync, mark))
    syncfs = marking(durable._syncfs(), mark)
    vars(durable)["_syncfs"] = lambda: syncfs
    starter.serve()


if __name__ == "__main__":
    main()
