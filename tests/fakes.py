"""Stand-ins for a host, a reporter and steps: a step's whole work is to write a few bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild import execute, graph, store
from bangerbuild.epoch import Epoch
from bangerbuild.formats.survey import Survey
from bangerbuild.model import Preview, Reason, ReasonCode, Revealed, Verb, Verdict
from bangerbuild.planning import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from bangerbuild.declared import Manifest
    from bangerbuild.errors import BangerError
    from bangerbuild.model import (
        Action,
        FileDiff,
        Json,
        Pin,
        Plan,
        Result,
        Secret,
        Situation,
        Source,
        Step,
        View,
        Workspace,
    )

EPOCH = Epoch()


@dataclass(frozen=True)
class FakeStep:
    """Makes its outputs of its text and of what its inputs hold; `changes` appends its text in place."""

    kind: ClassVar[str] = "fake"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    has_format: ClassVar[bool] = False
    from_base: ClassVar[tuple[str, ...]] = ()

    waits_for: tuple[str, ...] = field(default=(), metadata={"recipe": False}, kw_only=True)
    id: str = field(metadata={"recipe": False})
    inputs: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    outputs: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    text: str = ""
    changes: str | None = field(default=None, metadata={"recipe": False})
    sources: tuple[Source, ...] = field(default=(), metadata={"recipe": False})
    tools: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    diffs: tuple[FileDiff, ...] = field(default=(), metadata={"recipe": False})
    found: tuple[Reason, ...] = field(default=(), metadata={"recipe": False})
    obstacle: tuple[Reason, ...] = field(default=(), metadata={"recipe": False})
    """What `run` is known to fail at."""
    is_guests: bool = field(default=False, metadata={"recipe": False}, kw_only=True)
    """Whether what it makes is a guest's from the moment it is published."""
    error: BangerError | None = field(default=None, metadata={"recipe": False})
    """Raised by `run`, once its outputs are half-made."""
    during: Callable[[Workspace], None] | None = field(default=None, metadata={"recipe": False})
    """Called by `run` before it ends."""
    within: Callable[[Workspace], None] | None = field(default=None, metadata={"recipe": False})
    """Called by `run` while it holds the disk that it changes."""

    def recover(self, _view: View, _artifacts: tuple[str, ...]) -> None:
        """Nothing can be told of it."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        return (cls.kind,)

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:  # noqa: ARG003  # a fake is made by hand
        yield from ()

    def notes(self, pin: Pin | None) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def foresee(self, view: View) -> None:
        """Nothing is known of it."""

    def on_base(self, there: Collection[str]) -> Self:  # noqa: ARG002
        return self

    def of_image(self, image: str) -> Self | None:  # noqa: ARG002
        return None

    def beside(self, fingerprint: str) -> Self:  # noqa: ARG002
        return self

    def judge(self, situation: Situation) -> Verdict:
        if situation.missing or situation.record is None:
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
        if situation.changes or situation.found:
            reasons = (*situation.changes, *situation.found)
            return Verdict(Verb.UPDATE if self.changes else Verb.REPLACE, reasons)
        return Verdict(Verb.KEEP)

    def disk_bytes(self, view: View, artifact: str) -> int | None:  # noqa: ARG002  # the file's
        return None

    def inspect(self, view: View) -> tuple[Reason, ...]:  # noqa: ARG002  # the test says what it finds
        return self.found

    def obstacles(self, view: View, made_from: str) -> tuple[Reason, ...]:  # noqa: ARG002  # the test says
        return self.obstacle

    def preview(  # the test says what it shows
        self,
        view: View,  # noqa: ARG002
        *,
        is_untouched: bool,  # noqa: ARG002
        remakes_disk: bool,  # noqa: ARG002
        in_full: bool = True,  # noqa: ARG002
    ) -> Preview:
        return Preview(self.diffs, obstacles=self.obstacle)

    def warnings(self, view: View, *, is_new: bool) -> tuple[str, ...]:  # noqa: ARG002  # of a fake nobody need know
        return ()

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        if self.changes:
            artifact = workspace.artifact(self.changes)
            if workspace.remakes_disk:  # as nobody used it
                content = workspace.path(artifact).read_text()
                workspace.create(artifact).write_text(content)
            with workspace.in_place(artifact) as path:
                if self.within:
                    self.within(workspace)
                with path.open("a") as file:
                    file.write(self.text)
        else:
            content = "".join(
                workspace.path(workspace.artifact(step_id)).read_text() for step_id in self.inputs
            )
            for output in self.outputs:
                artifact = output.format(fingerprint=workspace.fingerprint)
                workspace.create(artifact, guests=self.is_guests).write_text(content + self.text)
        if self.during:
            self.during(workspace)
        if self.error:
            raise self.error
        return {"text": self.text}


@dataclass(frozen=True)
class FakeDisk(FakeStep):
    """A step whose artifact a guest may hold open."""

    exclusive: ClassVar[bool] = True


@dataclass
class FakeHost:
    """Digests, versions and holders as a test says."""

    digests: dict[str, str] = field(default_factory=dict)
    """By role; a role that is not here has a digest made of its name."""
    versions: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    """By file name."""

    def digest(self, source: Source) -> str:
        return self.digests.get(source.role, f"digest of {source.role}")

    def survey(self, source: Source) -> Survey:
        return Survey(source.path or Path(), (), (), self.digest(source))

    def revealed(self, secret: Secret) -> Revealed:
        return Revealed(f"secret of {secret.key}".encode(), "00")

    def version(self, tool: str) -> str:
        return self.versions.get(tool, "1")

    def holder(self, path: Path) -> str | None:
        return self.holders.get(path.name)


@dataclass
class RecordingReporter:
    """Remembers what it was told, in order: `("started", "a")`, `("done", "a")`, `("warning", "a: …")`."""

    events: list[tuple[str, str]] = field(default_factory=list)

    def planned(self, plan: Plan) -> None:  # noqa: ARG002  # that it was told is what counts
        self.events.append(("planned", ""))

    def started(self, action: Action) -> None:
        self.events.append(("started", action.id))

    def finished(self, action: Action, result: Result) -> None:
        self.events.append((result.outcome.value, action.id))

    def warned(self, step_id: str, message: str) -> None:
        self.events.append(("warning", f"{step_id}: {message}"))

    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self.events.append(("progress", f"{what}: {done_bytes} of {total_bytes}"))


def planned(
    steps: Sequence[Step], path: Path, host: FakeHost | None = None, forced: Sequence[str] = ()
) -> Plan:
    """The plan of these steps for the store at `path`, which is only read."""
    made = graph.build(steps)
    return plan.make(made, store.read(path), host or FakeHost(), epoch=EPOCH, forced=frozenset(forced))


def built(
    steps: Sequence[Step],
    path: Path,
    host: FakeHost | None = None,
    *,
    forced: Sequence[str] = (),
    reporter: RecordingReporter | None = None,
    jobs: int = 2,
    keep_going: bool = False,
) -> tuple[Result, ...]:
    """Plan these steps for the store at `path` and do it."""
    host = host or FakeHost()
    limits = execute.ExecuteOptions(jobs, keep_going, EPOCH)
    with store.writing(path, timeout_seconds=0) as opened:
        made = plan.make(graph.build(steps), opened, host, epoch=EPOCH, forced=frozenset(forced))
        return execute.execute(made, opened, host, reporter or RecordingReporter(), limits)
