"""What a node tells while it works, one JSON line each; and plans as they cross, without steps or recipes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from bangerbuild import report
from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import NOTHING_LOCAL, DocumentError
from bangerbuild.errors import BangerError
from bangerbuild.model import Action, FileDiff, Reason, ReasonCode, Recipe, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.model import Json, Plan, Step

_NO_FACTS: Mapping[str, Json] = {}


@dataclass(frozen=True)
class SentError:
    """An error of a node."""

    brief: str
    details: str | None = None
    hint: str | None = None
    exit_code: int = 1

    @classmethod
    def of(cls, err: BangerError) -> SentError:
        """An error, to be sent; the problems of a manifest are its details."""
        lines = [*report.error_lines(err)] if getattr(err, "problems", ()) else []
        return cls(err.brief, "\n".join(lines) or err.details, err.hint, err.exit_code)

    def error(self) -> NodeError:
        """The same as an error of this program."""
        found = NodeError(self.brief, details=self.details, hint=self.hint)
        found.node_code = self.exit_code
        return found


class NodeError(BangerError):
    """An error that a node met."""

    node_code = 1
    """The exit code of the error on the node."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # of each error its own
        """As the node has it."""
        return self.node_code


@dataclass(frozen=True)
class SentDiff:
    """A diff of a guest's file."""

    guest: str
    text: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class SentAction:
    """An action of a node's plan."""

    id: str
    kind: str
    verb: str
    fingerprint: str
    artifacts: tuple[str, ...] = ()
    reasons: tuple[Mapping[str, Json], ...] = ()
    inputs: tuple[str, ...] = ()
    changes: str | None = None
    exclusive: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    diffs: tuple[SentDiff, ...] = ()

    @classmethod
    def of(cls, action: Action) -> SentAction:
        """An action, to be sent."""
        return cls(
            action.id,
            action.step.kind,
            action.verb.value,
            action.fingerprint,
            action.artifacts,
            tuple(one.to_json() for one in action.reasons),
            tuple(action.step.inputs),
            action.step.changes,
            action.step.exclusive,
            action.notes,
            action.warnings,
            tuple(SentDiff(one.guest, one.text, one.note) for one in action.diffs),
        )

    def action(self, step_id: str) -> Action:
        """The same as an action that can be shown, called by that id.

        Raises:
            DocumentError: it has a verb or a reason that this version does not know.
        """
        try:
            step = RemoteStep(step_id, self.kind, self.inputs, self.changes, self.exclusive)
            reasons = tuple(
                Reason(
                    ReasonCode(str(one.get("code"))),
                    {key: one[key] for key in one if key != "code"} or _NO_FACTS,
                )
                for one in self.reasons
            )
            return Action(
                cast("Step", step),  # to be shown, a step needs no more
                Verb(self.verb),
                reasons,
                _UNKNOWN,
                self.fingerprint,
                self.artifacts,
                diffs=tuple(FileDiff(one.guest, one.text, one.note) for one in self.diffs),
                warnings=self.warnings,
                notes=self.notes,
            )
        except ValueError as err:
            raise DocumentError(f"'{self.id}' has what this version does not know: {err}") from err


_UNKNOWN = Recipe("", {}, {}, {}, {})
"""The recipe stays on the node."""


@dataclass(frozen=True, slots=True)
class RemoteStep:
    """A step of which another machine has all but what is shown."""

    id: str
    kind: str
    inputs: tuple[str, ...]
    changes: str | None
    exclusive: bool


@dataclass(frozen=True)
class Planned:
    """The node's plan."""

    store: str
    actions: tuple[SentAction, ...]
    undeclared: tuple[str, ...] = ()
    orphans: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, made: Plan) -> Planned:
        """A plan, to be sent."""
        actions = tuple(map(SentAction.of, made.actions))
        return cls(str(made.store), actions, made.undeclared, dict(made.orphans))


@dataclass(frozen=True)
class Started:
    """An action runs."""

    id: str


@dataclass(frozen=True)
class Finished:
    """An action ended."""

    id: str
    outcome: Literal["done", "failed", "skipped"]
    seconds: float | int = 0.0
    error: SentError | None = None


@dataclass(frozen=True)
class Warned:
    """Something that stops nothing; without an id about the node as a whole."""

    id: str
    message: str


@dataclass(frozen=True)
class Progressed:
    """How far something is that takes long."""

    what: str
    done_bytes: int
    total_bytes: int | None = None


@dataclass(frozen=True)
class Printed:
    """A line that a builder printed."""

    what: str
    line: str


@dataclass(frozen=True)
class Listed:
    """Rows of `status` or of `verify`, as their JSON has them."""

    rows: tuple[Mapping[str, Json], ...]
    store: str


@dataclass(frozen=True)
class Locked:
    """What was pushed: the text of the lock file that has it."""

    lock: str
    pushed: tuple[Mapping[str, Json], ...]


@dataclass(frozen=True)
class Alive:
    """The node works, and has nothing to say."""


@dataclass(frozen=True)
class Ended:
    """The share is done, or has failed as a whole."""

    error: SentError | None = None


Event: TypeAlias = (
    Planned | Started | Finished | Warned | Progressed | Printed | Listed | Locked | Alive | Ended
)
EVENTS: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (Planned, Started, Finished, Warned, Progressed, Printed, Listed, Locked, Alive, Ended)
}


def line(event: Event) -> bytes:
    """An event as a line."""
    return json.dumps(documents.named(event), separators=(",", ":")).encode() + b"\n"


def events(lines: bytes) -> Iterator[Event]:
    """The events of some lines.

    Raises:
        DocumentError: one of them is none.
    """
    try:  # all at once: one by one it takes twice as long
        found = json.loads(b"[%s]" % lines.rstrip(b"\n").replace(b"\n", b","))
    except (ValueError, RecursionError) as err:
        raise DocumentError("a node said something that is no JSON") from err
    for document in found:
        yield documents.decoded_as_one_of(EVENTS, document, NOTHING_LOCAL, "event")
