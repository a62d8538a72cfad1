"""All that a run asks of a network: who is there, questions to nodes with their answers, and what they say.

A message is bytes. A question is answered once, unless the node is lost; a node is asked one thing at a
time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.errors import BangerError


@dataclass(frozen=True)
class Said:
    """What a node says while it works on a question: lines of events."""

    node: str
    lines: bytes


@dataclass(frozen=True)
class Answered:
    """The answer to what a node was asked."""

    node: str
    message: bytes


@dataclass(frozen=True)
class Lost:
    """A node that answers no more: its worker ended, or can't be reached."""

    node: str
    why: BangerError


Arrival: TypeAlias = Said | Answered | Lost


class Transport(Protocol):
    """A way to the nodes. Used by one thread."""

    def workers(self) -> Mapping[str, str | None]:
        """The names of the nodes that are there, with their versions of bangerbuild; None: they have none.

        Raises:
            ClusterError: nobody can be asked.
        """

    def ask(self, node: str, question: bytes) -> None:
        """Ask a node that is there; the answer arrives."""

    def arrival(self, timeout_seconds: float) -> Arrival | None:
        """What arrived next; None: nothing in that time."""

    def cancel(self) -> None:
        """Have all nodes end what they do for this run, and wait until they were told, but not for long."""

    def close(self) -> None:
        """Let go of all that was opened."""
