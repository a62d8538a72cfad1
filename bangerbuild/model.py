"""The nouns: Step, Recipe, Action, Plan, Reason, Record; frozen values, and the Protocols around them.

A step says what it makes and from what. A recipe is all that decides the bytes. A record is what the store
remembers of a step that ran. An action is what a plan means to do about one step, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.errors import BangerError
    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.survey import Survey

T = TypeVar("T")
Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Is told what takes long, how many bytes of it are done, and of how many; None where that is not known."""
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def unseen(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """Progress that nobody is shown."""


class Verb(StrEnum):
    """What is done about a step."""

    KEEP = "keep"
    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    GROW = "grow"
    REPLACE = "replace"
    BLOCKED = "blocked"


class ReasonCode(StrEnum):
    """Why; the facts that go with each code are named beside it."""

    MISSING = "missing"
    RECIPE_CHANGED = "recipe-changed"
    """key, and old and new where they may be shown."""
    SOURCE_CHANGED = "source-changed"
    """path."""
    INPUT_CHANGED = "input-changed"
    """id."""
    TOOL_CHANGED = "tool-changed"
    """tool, old, new."""
    ARTIFACT_MODIFIED = "artifact-modified"
    """path; error and hint where it can't be used, stays where not even --replace takes its place."""
    FILE_DIFFERS = "file-differs"
    """guest."""
    FILE_UNDECLARED = "file-undeclared"
    """guest."""
    SIZE_GROW = "size-grow"
    """old, new: bytes."""
    SIZE_SHRINK = "size-shrink"
    """old, new: bytes."""
    GUEST_WROTE = "guest-wrote"
    """bytes: about how much, where that can be told."""
    BASE_BEHIND = "base-behind"
    """id: of the image that it stands on."""
    BASE_UNKNOWN = "base-unknown"
    """missing: the image that is gone; or base, as the store says, and recorded."""
    IN_USE = "in-use"
    """holder."""
    INTERRUPTED = "interrupted"
    FORCED = "forced"


@dataclass(frozen=True)
class Reason:
    """One reason of an action: a code and its facts, which are JSON."""

    code: ReasonCode
    facts: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The reason as `plan --json` shows it: the facts beside the code."""
        return {"code": self.code.value, **self.facts}


NO_RECIPE = {"recipe": False}
"""Metadata of a field that decides no byte, such as where bytes come from: it is left out of the recipe."""


@dataclass(frozen=True)
class HostPath:
    """A file or directory of the host: its absolute path, and the words that named it in the manifest.

    A recipe holds neither: what counts is the content, which is a `Source`.
    """

    path: Path = field(metadata=NO_RECIPE)
    written: str = field(metadata=NO_RECIPE)


@dataclass(frozen=True)
class Pin:
    """What a source elsewhere stood for when it was asked; from then on it stands for that."""

    digest: str
    """sha256, 64 hex digits: of a download, of a container image's manifest, of the tarball of a suite."""
    platform: str | None = None
    """Of a container image, such as `linux/amd64`."""
    versions: str | None = None
    """Of a tarball made of packages: the digest of their names and versions."""


@dataclass(frozen=True)
class Source:
    """A host file or directory that a step reads, or what lies elsewhere and was pinned.

    Its content counts in the recipe under `role`, which is a place in the manifest and not a path, so that
    the same manifest gives the same fingerprint in every directory.
    """

    role: str
    path: Path | None
    """None: it lies elsewhere, and its pin is its digest."""
    written: str
    """The path as the manifest has it, for messages."""
    rules: TreeRules | None = None
    """What of a tree counts; None: a single file, of which only the content does."""
    pin: str | None = None
    """The digest of what lies elsewhere, if the manifest itself gives it."""
    surveyed: bool = False
    """Whether the step reads the tree by `View.survey`: then it is kept from when its digest is taken."""


@dataclass(frozen=True)
class Recipe:
    """All that decides an artifact's bytes."""

    kind: str
    fields: Mapping[str, Json]
    """The step's own fields under their dotted manifest keys."""
    inputs: Mapping[str, str]
    """Step id to fingerprint."""
    sources: Mapping[str, str]
    """Role to digest."""
    tools: Mapping[str, str]
    """Name to version."""


@dataclass(frozen=True)
class Record:
    """What the store remembers of the last run of a step."""

    id: str
    recipe: Recipe
    fingerprint: str
    artifacts: tuple[str, ...]
    """Paths relative to the store."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What the step itself wants to remember, such as the digests of the files it wrote into a guest."""

    @property
    def step_id(self) -> str:
        """The step's id; one that is remembered for each fingerprint has that behind it in `id`."""
        return self.id.removesuffix(f"@{self.fingerprint}")


@dataclass(frozen=True)
class FileDiff:
    """What a patch would do to one guest file."""

    guest: str
    text: str | None = None
    """A unified diff; None: only that it changes may be said, or there is nothing readable to say."""
    note: str | None = None
    """What is said in place of a diff: `binary, 512 bytes`, `changes (contents not shown)`."""

    def to_json(self) -> dict[str, Json]:
        """The diff as `plan --json` shows it."""
        return {"guest": self.guest, "diff": self.text, "note": self.note}


@dataclass(frozen=True)
class Preview:
    """What an update would change inside a guest, and what only a look at the guest tells of why."""

    diffs: tuple[FileDiff, ...] = ()
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Situation:
    """How things stand for one step, when it is asked for a verdict."""

    record: Record | None
    changes: tuple[Reason, ...]
    """Differences between the recorded recipe and today's, tools apart."""
    missing: bool
    """Whether an artifact is not there."""
    modified: Callable[[], bool]
    """Whether an artifact has other bytes than were last published. Asking may read all of it."""
    disk_verb: Verb | None = None
    """For a step that changes another's artifact in place: what happens to that artifact."""
    file_bytes: int | None = None
    """The size that a disk has now; None if it is not there, or the step makes none."""
    allocated_bytes: int | None = None
    """What it takes up on its filesystem; None likewise."""
    found: tuple[Reason, ...] = ()
    """What the step's `inspect` said; nothing where it was not asked."""


@dataclass(frozen=True)
class Verdict:
    """What a step says should be done about it, and why."""

    verb: Verb
    reasons: tuple[Reason, ...] = ()


class Step(Protocol):
    """One node of the graph. Implementations are frozen dataclasses whose fields are the recipe."""

    exclusive: ClassVar[bool]
    """Whether its artifacts may only be changed while nobody else has them open: disks that guests write."""

    @property
    def kind(self) -> str:
        """What its records call it, in every version."""

    @property
    def format(self) -> int:
        """Raised when the code starts to write other bytes for the same recipe; counts among the tools."""

    @property
    def id(self) -> str:
        """The name users see, such as `vm.web.root`."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the steps whose artifacts this one reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Artifacts it makes, relative to the store; `{fingerprint}` stands for its own fingerprint."""

    @property
    def changes(self) -> str | None:
        """Id of the one input whose artifact this step changes in place, where it makes none of its own."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Host files it reads."""

    @property
    def tools(self) -> tuple[str, ...]:
        """Programs and libraries whose version counts."""

    def judge(self, situation: Situation) -> Verdict:
        """What should be done about it, and why; pure. Differing tools alone are never a reason."""

    def inspect(self, view: View) -> tuple[Reason, ...]:
        """Look into a disk and say what is not as it was left; reads, never writes.

        A step that makes a disk is asked where something has to be done to it, or somebody has touched it,
        one that changes a disk where somebody has written to it; both only while nobody has the disk open.

        Raises:
            BangerError: it can't be read; then nothing is known to differ.
        """

    def preview(self, view: View, *, is_untouched: bool, remakes_disk: bool) -> Preview:
        """What an `update` would change inside the guest; reads, never writes.

        Args:
            view: what may be read.
            is_untouched: whether the disk holds what it was left with, as far as `stat` tells.
            remakes_disk: see Action.
        """

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """Make the artifacts in staging; the facts to remember."""


class View(Protocol):
    """What a step may read."""

    @property
    def epoch(self) -> int:
        """Seconds since 1970 for every time that we make ourselves (SOURCE_DATE_EPOCH)."""

    def artifact(self, step_id: str) -> str:
        """The name of an input's first artifact, relative to the store."""

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """The names of all its artifacts."""

    def path(self, artifact: str) -> Path:
        """Where an artifact is: in staging if this job makes or changes it, else in the store."""

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What an input remembers of its run."""

    def survey(self, source: Source) -> Survey:
        """A host tree or file as it was when the plan took its digest; walked once for the whole run.

        Raises:
            SourceError: it was not looked at before, and can't be read.
        """

    def ledger(self, step_id: str) -> Mapping[str, str]:
        """What a step that changes a disk wrote there in its last run, by guest path; see `wrote`."""

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        """What it was about to write there since, in runs that were interrupted; see `intend`."""


class Workspace(View, Protocol):
    """What a step runs against: staged files it may write, published ones it may read."""

    @property
    def fingerprint(self) -> str:
        """Of the recipe that is being made."""

    @property
    def verb(self) -> Verb:
        """What the plan says of this step."""

    @property
    def pin(self) -> Pin | None:
        """What the step's source stands for, if it lies elsewhere."""

    @property
    def remakes_disk(self) -> bool:
        """Whether the plan has this step make the disk anew, and nobody has changed the disk since."""

    @property
    def staging(self) -> Path:
        """A private directory for this job; removed whatever happens."""

    def is_new(self, artifact: str) -> bool:
        """Whether this job makes it, and does not change a copy of what was there."""

    def is_staged(self, artifact: str) -> bool:
        """Whether this job has a file of its own for it, made anew or copied."""

    def create(self, artifact: str, *, guests: bool = False) -> Path:
        """A path in staging, to be written and then published as this artifact; nothing is there yet.

        `guests` says that it is a guest's from the moment it is published.
        """

    def has_digest(self, artifact: str, digest: str) -> None:
        """Say what a file that was just made holds, see `clone.digest`, so that it need not be read again."""

    def copy(self, artifact: str, *, sharing: bool) -> Path | None:
        """A private copy of an artifact, to be changed and then published in its place.

        With `sharing`, None where the filesystem can't share blocks between the two.
        """

    def in_place(self, artifact: str) -> AbstractContextManager[Path]:
        """An artifact to be changed where it lies: nobody else has it open, and it is mended.

        Of one that this job has staged it is that file. What is done to it must hold at any instant.

        Raises:
            BusyError: somebody has it open.
        """

    def intend(self, files: Mapping[str, str]) -> None:
        """Remember the same before a disk is changed where it lies: the run may not live to say `wrote`."""

    def wrote(self, files: Mapping[str, str]) -> None:
        """Remember what the step wrote into the guest: by guest path, in words of the step's own."""

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What all jobs of a run share: made by the first that asks, closed when the run ends."""

    def using(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> AbstractContextManager[T]:
        """The same of what there may be many of: closed when nobody has used it for a while."""

    def warn(self, message: str) -> None:
        """Say something that deserves attention but stops nothing."""

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Say how far something is that takes long; often, and None where the end is not known."""


@dataclass(frozen=True)
class Action:
    """What a plan means to do about one step."""

    step: Step
    verb: Verb
    reasons: tuple[Reason, ...]
    recipe: Recipe
    fingerprint: str
    """Of the recipe that will hold afterwards; for a kept step, of the recorded one."""
    artifacts: tuple[str, ...]
    remakes_disk: bool = False
    """Whether an update makes the disk anew that it changes: no guest has changed it since we last did."""
    untouched: bool = False
    """Whether the action rests on that, so that it is void if somebody writes to the disk meanwhile."""
    diffs: tuple[FileDiff, ...] = ()
    pin: Pin | None = None
    """What the step's source stands for, if it lies elsewhere."""

    @property
    def id(self) -> str:
        """The step's id."""
        return self.step.id

    @property
    def in_use(self) -> bool:
        """Whether something must be done to a disk that somebody else holds open."""
        return any(reason.code is ReasonCode.IN_USE for reason in self.reasons)

    @property
    def pending(self) -> bool:
        """Whether executing the plan runs this step."""
        return self.verb not in {Verb.KEEP, Verb.BLOCKED} and not self.in_use


@dataclass(frozen=True)
class Plan:
    """Actions in topological order, kept steps too."""

    store: Path
    actions: tuple[Action, ...]

    def counts(self) -> dict[Verb, int]:
        """How many actions there are of each verb."""
        counts = dict.fromkeys(Verb, 0)
        for action in self.actions:
            counts[action.verb] += 1
        return counts


class Outcome(StrEnum):
    """How an action ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """How one action ended, after how many seconds, with which error."""

    id: str
    outcome: Outcome
    seconds: float = 0.0
    error: BangerError | None = None


class Host(Protocol):
    """What planning asks of this host."""

    def digest(self, source: Source) -> str:
        """Of the content of a host file or directory, which is looked at each time.

        Raises:
            SourceError: it can't be read.
        """

    def survey(self, source: Source) -> Survey:
        """The host tree or file at the time of the first look; may be asked by several threads.

        Raises:
            SourceError: it can't be read.
        """

    def version(self, tool: str) -> str:
        """Of a program or library.

        Raises:
            ToolError: it is not installed.
        """

    def holder(self, path: Path) -> str | None:
        """Who else on this host holds a file open."""


class Reporter(Protocol):
    """Is told what happens while a plan is executed. Called from one thread only."""

    def started(self, action: Action) -> None:
        """The action runs now."""

    def finished(self, action: Action, result: Result) -> None:
        """The action ended: done and published, failed, or skipped."""

    def warned(self, step_id: str, message: str) -> None:
        """A step has something to say that stops nothing."""

    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """How far something is that takes long. The one that is called from any thread, and often."""


class PlanReporter(Reporter, Protocol):
    """A reporter that is shown the plan before the first step runs."""

    def planned(self, plan: Plan) -> None:
        """The plan is made, and nothing is done yet."""
