"""Sends parcels to nodes and hands on what they say. A node's part is a generator of questions.

A node that is lost or fails ends its own part alone. As contents of files go through the scheduler's
memory, few nodes are sent files at once; all of those that have what they need work at once.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeAlias

from bangerbuild.cluster import worker
from bangerbuild.cluster.events import events
from bangerbuild.cluster.transport import Answered, Said
from bangerbuild.errors import BangerError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from bangerbuild.cluster.dividing import Parcel
    from bangerbuild.cluster.events import Event
    from bangerbuild.cluster.host_files import HostObject
    from bangerbuild.cluster.transport import Arrival, Transport
    from bangerbuild.model import Json

    Part: TypeAlias = Generator[bytes, Json, None]

MOST_SENDING = 16
"""So many nodes are sent files at once: each has a piece of 8 MiB on its way."""
SLOW_SECONDS = 30.0
"""A node that says nothing for so long is named."""
TICK_SECONDS = 1.0
_OBJECTS_AT_ONCE = 10_000
"""As many keys of objects has one question."""


class Listener(Protocol):
    """Is told what comes of the shares. Called from one thread."""

    def heard(self, node: str, event: Event) -> None:
        """A node says something."""

    def failed(self, node: str, error: BangerError) -> None:
        """A node is lost, or can't do its share; nothing more comes of it."""

    def slow(self, node: str, seconds: float) -> None:
        """A node has said nothing for so long; it is waited for."""

    def sent(self, node: str, what: str, done_bytes: int, total_bytes: int) -> None:
        """So much of a file has been sent to a node."""


def dispatch(
    nodes: Iterable[str], parcel: Callable[[str], Parcel], run: str, transport: Transport, listener: Listener
) -> None:
    """Have nodes do their shares, and wait for all of them.

    Args:
        nodes: that are there.
        parcel: makes what goes to a node, when its turn comes.
        run: names the run.
        transport: the way to the nodes.
        listener: is told what comes of it.

    Raises:
        KeyboardInterrupt: the nodes were told to end what they do.
    """
    try:
        _Dispatch(nodes, parcel, run, transport, listener).drive()
    except BaseException:
        transport.cancel()
        raise


class _Dispatch:
    def __init__(
        self,
        nodes: Iterable[str],
        parcel: Callable[[str], Parcel],
        run: str,
        transport: Transport,
        listener: Listener,
    ) -> None:
        self._waiting = deque(nodes)
        self._parcel = parcel
        self._run = run
        self._transport = transport
        self._listener = listener
        self._parts: dict[str, Part] = {}
        self._sending: set[str] = set()
        """The nodes that do not have all that they need."""
        self._heard: dict[str, float] = {}
        """When each node was last heard of."""

    def drive(self) -> None:
        while self._waiting or self._parts:
            while self._waiting and len(self._sending) < MOST_SENDING:
                self._begin(self._waiting.popleft())
            if self._parts:
                arrival = self._transport.arrival(TICK_SECONDS)
                if arrival is not None:
                    self._take(arrival)
                self._name_slow()

    def _begin(self, node: str) -> None:
        self._parts[node] = self._part(node)
        self._sending.add(node)
        self._advance(node, None)

    def _part(self, node: str) -> Part:
        """What is asked of a node, one after the other."""
        parcel = self._parcel(node)
        keys = sorted(parcel.objects)
        for first in range(0, len(keys), _OBJECTS_AT_ONCE):
            some = tuple(keys[first : first + _OBJECTS_AT_ONCE])
            lacking = yield worker.asked(worker.Lacking(self._run, some))
            for key in lacking if isinstance(lacking, list) else ():
                yield from self._send(node, parcel.objects[str(key)])
        self._sending.discard(node)
        yield worker.asked(worker.Run(self._run, node), parcel.share)

    def _send(self, node: str, one: HostObject) -> Part:
        """Have a node make an object, of contents that it is sent if it lacks them."""
        offer = worker.asked(worker.Offer(self._run), one.listing)
        lacking = yield offer
        if not lacking or not isinstance(lacking, list):
            return
        for digest in lacking:
            content = one.contents[str(digest)]
            total = content.size_bytes
            for offset, piece in content.pieces():
                yield worker.asked(worker.Take(self._run, str(digest), offset, total), piece)
                self._listener.sent(node, content.written, offset + len(piece), total)
            yield worker.asked(worker.Take(self._run, str(digest), total, total, is_last=True))
        yield offer

    def _advance(self, node: str, answer: Json) -> None:
        """Give a node's part the answer that it waits for, and ask what it asks next."""
        self._heard[node] = time.monotonic()
        try:
            question = self._parts[node].send(answer)
        except StopIteration:
            self._end(node)
        except BangerError as err:
            self._fail(node, err)
        else:
            self._transport.ask(node, question)

    def _take(self, arrival: Arrival) -> None:
        node = arrival.node
        if node not in self._parts:  # it was given up
            return
        self._heard[node] = time.monotonic()
        try:
            if isinstance(arrival, Said):
                for event in events(arrival.lines):
                    self._listener.heard(node, event)
                return
            if isinstance(arrival, Answered):
                self._advance(node, worker.answer_of(arrival.message))
                return
        except BangerError as err:
            self._fail(node, err)
            return
        self._fail(node, arrival.why)

    def _fail(self, node: str, err: BangerError) -> None:
        self._end(node)
        self._listener.failed(node, err)

    def _end(self, node: str) -> None:
        self._parts.pop(node).close()
        self._sending.discard(node)

    def _name_slow(self) -> None:
        now = time.monotonic()
        for node in self._parts:
            if now - self._heard[node] >= SLOW_SECONDS:
                self._heard[node] = now
                self._listener.slow(node, SLOW_SECONDS)
