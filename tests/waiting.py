"""Waiting for what another thread or process does, on a machine that may have much else to do."""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 300
"""How long a test waits before it fails: far more than anything takes, since a busy machine may be slow."""


def eventually(is_so: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def assert_ends(pid: int) -> None:
    """The process is gone, or goes soon."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([fd], [], [], PATIENCE_SECONDS)
    os.close(fd)
    assert ended, f"process {pid} still runs"
