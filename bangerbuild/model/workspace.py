"""`View` and `Workspace`: what a step may read while it is planned, and write while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.epoch import Epoch
    from bangerbuild.formats.survey import Survey
    from bangerbuild.model.content import Pin, Revealed, Secret, Source
    from bangerbuild.model.reason import Json, Verb


T = TypeVar("T")


class View(Protocol):
    """What a step may read."""

    @property
    def epoch(self) -> Epoch:
        """The time for all that we make ourselves."""

    def artifact(self, step_id: str) -> str:
        """The name of an input's first artifact, relative to the store."""

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """The names of all its artifacts."""

    def is_kept(self, step_id: str) -> bool:
        """Whether what an input made is there, and stays as it is."""

    def path(self, artifact: str) -> Path:
        """Where an artifact is: in staging if this job makes or changes it, else in the store."""

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What an input remembers of its run."""

    def survey(self, source: Source) -> Survey:
        """A host tree or file as it was when the plan took its digest; walked once for the whole run.

        Raises:
            SourceError: it was not looked at before, and can't be read.
        """

    def revealed(self, secret: Secret) -> Revealed:
        """A secret, as it was read for this run; it goes nowhere but into the guest's file."""

    def ledger(self, step_id: str) -> Mapping[str, str]:
        """What a step that changes a disk wrote there in its last run, by guest path; see `wrote`."""

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        """What it was about to write there since, in runs that were interrupted; see `intend`."""

    def is_as_left(self, artifact: str) -> bool:
        """Whether a disk is as a run or a look left it last: what the ledger says is there, then."""

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What the steps of a plan, or the jobs of a run, share: made once, and closed at its end."""


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

    def using(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> AbstractContextManager[T]:
        """The same as `shared` of what there may be many of: closed when nobody has used it for a while."""

    def warn(self, message: str) -> None:
        """Say something that deserves attention but stops nothing."""

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Say how far something is that takes long; often, and None where the end is not known."""

    def advanced(self, done_bytes: int, total_bytes: int | None) -> None:
        """Say how far this step is; as often, and None where the end is not known."""

    def say(self, what: str, line: str) -> None:
        """Show a line that a program printed which works for long, to whoever wants to see it."""
