"""Watches one response of a server: one that sends next to nothing, but never nothing, is broken off.

A timeout for each read is no limit: a server that sends a byte from time to time, in a header, in the length
of a chunk or after the last one, holds a client for as long as it likes. So a thread looks at what came since
it looked last, and ends the connection if that is too little.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    import io
    from types import TracebackType

Reader = TypeVar("Reader", bound="io.IOBase")


class Watch:
    """A watch over the connections of one request, as a context.

    Args:
        window_seconds: how often it looks.
        least_bytes: what must have come since.
    """

    def __init__(self, window_seconds: float, least_bytes: int) -> None:
        self._window_seconds = window_seconds
        self._least_bytes = least_bytes
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._readers: list[io.IOBase] = []
        self._came_bytes = 0
        self._is_fresh = False
        """Whether a socket has come since it looked last: then no whole window has passed."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.has_given_up = False
        """Whether it has ended the connection."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for reader in self._readers:
            reader.close()
        for one in self._sockets:
            one.close()

    def over(self, connected: socket.socket) -> socket.socket:
        """Watch a socket too, whatever is made of it later; returns it."""
        own = socket.socket(fileno=os.dup(connected.fileno()))
        with self._lock:
            self._sockets.append(own)
            self._is_fresh = True
        return connected

    def reading(self, reader: Reader) -> Reader:
        """Close what reads from a socket at the end of the context, whatever became of it; returns it.

        urllib3 loses a response whose headers it refuses, and with it an open socket.
        """
        self._readers.append(reader)
        return reader

    def came(self, count_bytes: int) -> None:
        """Note that so much has come."""
        with self._lock:
            self._came_bytes += count_bytes

    def has_begun(self) -> None:
        """Note that all headers have come, which counts as enough."""
        self.came(self._least_bytes)

    def _look(self) -> None:
        while not self._ended.wait(self._window_seconds):
            with self._lock:
                is_short = self._came_bytes < self._least_bytes
                is_enough = self._is_fresh or not self._sockets or not is_short
                self._came_bytes, self._is_fresh = 0, False
                if not is_enough:
                    self._give_up()
                    return

    def _give_up(self) -> None:
        self.has_given_up = True
        for one in self._sockets:
            with contextlib.suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)
