"""Ports of this machine that no other test or program is given while they are reserved."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port where nothing answers; a program that sets SO_REUSEADDR, as QEMU does, can listen on it.

    Linux gives a port that is bound to nobody who asks for any port, and lets two sockets with SO_REUSEADDR
    share it as long as only one of them listens.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]
