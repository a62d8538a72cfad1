"""A network in memory: nodes that answer in this process, and that die or lie when they are told to."""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild import __version__
from bangerbuild.cluster import child, documents, events, worker
from bangerbuild.cluster.transport import Answered, Lost, Said, Transport
from bangerbuild.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pytest

    from bangerbuild.cluster.transport import Arrival
    from bangerbuild.model import Json

    Answer = Callable[[bytes, Callable[[bytes], None]], bytes]


@dataclass
class FakeNode:
    """A node, and what it was asked."""

    answer: Answer
    version: str | None = __version__
    dies_at: int | None = None
    """The number of the question, from 0, at which its worker ends."""
    asked: list[bytes] = field(default_factory=list)


class FakeTransport(Transport):
    """Each node answers when its arrival is asked for, so one test is one thread."""

    def __init__(self, nodes: Mapping[str, FakeNode]) -> None:
        self.nodes = nodes
        self._open: deque[str] = deque()
        self._arrived: deque[Arrival] = deque()
        self.was_cancelled = False

    @override
    def workers(self) -> Mapping[str, str | None]:
        return {name: node.version for name, node in self.nodes.items()}

    @override
    def ask(self, node: str, question: bytes) -> None:
        self.nodes[node].asked.append(question)
        self._open.append(node)

    @override
    def arrival(self, timeout_seconds: float) -> Arrival | None:
        if not self._arrived and self._open:
            self._answer(self._open.popleft())
        return self._arrived.popleft() if self._arrived else None

    def _answer(self, name: str) -> None:
        node = self.nodes[name]
        if node.dies_at is not None and len(node.asked) > node.dies_at:
            self._arrived.append(Lost(name, ClusterError(f"the worker of node '{name}' is gone")))
            return
        message = node.answer(node.asked[-1], lambda lines: self._arrived.append(Said(name, lines)))
        self._arrived.append(Answered(name, message))

    @override
    def cancel(self) -> None:
        self.was_cancelled = True

    @override
    def close(self) -> None:
        pass


def answered(found: Json) -> bytes:
    """An answer as a worker gives it."""
    return documents.written({"answer": found})


def kind_of(question: bytes) -> str:
    """What is asked."""
    return question.partition(b"\n")[0].partition(b'"is": "')[2].partition(b'"')[0].decode()


def in_process(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """A node that does its shares in this process, with a cache of its own below `home`."""

    def answer(question: bytes, said: Callable[[bytes], None]) -> bytes:
        def run(_run: str, share: bytes, tell: Callable[[bytes], None]) -> None:
            error = child.done(share, lambda event: tell(events.line(event)))
            tell(events.line(events.Ended(error)))

        with _environment(XDG_CACHE_HOME=str(home / name)), monkeypatch.context() as patch:
            patch.setattr(worker, "_run", run)
            return worker.answer(name, question, said)

    return FakeNode(answer)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in (*values, "SOURCE_DATE_EPOCH")}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
