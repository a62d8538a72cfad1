"""The `Step` Protocol: one node of the graph.

A new kind of step inherits `StepKind` of `steps/step_kind.py`, and needs a line in `STEPS` and its part of
the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bangerbuild.model.content import Pin, Source
    from bangerbuild.model.reason import Json, Reason
    from bangerbuild.model.recovered import Recovered, Unrecovered
    from bangerbuild.model.verdict import Preview, Situation, Verdict
    from bangerbuild.model.workspace import View, Workspace


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
    def has_format(self) -> bool:
        """Whether its file is of a format in which the disk may have another size than the file."""
        return False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the steps whose artifacts this one reads."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Ids of further steps that come first, and whose artifacts it may look at; no part of its recipe."""
        return ()

    @property
    def from_base(self) -> tuple[str, ...]:
        """Ids of inputs that go with the image that the step's first input stands on.

        That image need not be the one of today, and what is not declared of today's may be there of that one;
        see `planning/stand_ins.py`.
        """
        return ()

    def on_base(self, there: Collection[str]) -> Step:  # noqa: ARG002  # most have no such inputs
        """The same step on another image than today's, which has these of `from_base` and no others."""
        return self

    def of_image(self, image: str) -> Step | None:  # noqa: ARG002  # most can't
        """The same step for another image, out of which it takes what it makes; None: it can't."""
        return None

    def beside(self, fingerprint: str) -> Step:  # noqa: ARG002  # only those that have `of_image`
        """The same step where what it makes lies beside that of today, which stays the last run's."""
        return self

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

    def disk_bytes(self, view: View, artifact: str) -> int | None:  # noqa: ARG002
        """The size of the disk in a file, where that is not the file's; nobody has it open.

        Raises:
            BangerError: it can't be told.
        """
        return None

    def obstacles(self, view: View, made_from: str) -> tuple[Reason, ...]:
        """What a step is known to fail at that changes a disk which is made anew; reads, never writes.

        `made_from` is the artifact that the disk is made from.
        """

    def preview(self, view: View, *, is_untouched: bool, remakes_disk: bool, in_full: bool = True) -> Preview:
        """What an `update` would change inside the guest, or why it would fail; reads, never writes.

        Args:
            view: what may be read.
            in_full: whether the changes are to be told, beside what it would fail at.
            is_untouched: whether the disk holds what it was left with, as far as `stat` tells.
            remakes_disk: see Action.
        """

    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | Unrecovered | None:
        """What can be told of its last run, whose record is lost, from its artifacts; reads, never writes.

        Args:
            view: inputs were recovered before, and nobody has the disk open.
            artifacts: where its artifacts are now, or would be. One that changes a disk: the disk.

        Returns:
            None where nothing is there, or nothing of this step is in it.

        Raises:
            BangerError: what is there can't be read.
        """

    def notes(self, pin: Pin | None) -> tuple[str, ...]:  # noqa: ARG002  # most have none to look for
        """What there is to say of what `run` will make; asked only if it is made anew.

        Args:
            pin: what the step's source stands for, if it lies elsewhere.

        Raises:
            BangerError: it is known that the run fails so.
        """
        return ()

    def foresee(self, view: View) -> None:  # noqa: ARG002  # most read nothing that could be looked at
        """Look at what `run` will read, as far as that is cheap; asked only if it is made anew.

        Raises:
            BangerError: it is known that the run fails so.
        """
        return

    def warnings(self, view: View, *, is_new: bool) -> tuple[str, ...]:
        """What `run` would warn of, as far as it is known before; reads, never writes.

        Args:
            view: what may be read.
            is_new: whether the disk that it changes is made anew with it.

        Raises:
            BangerError: something that must be looked at can't be; then the run says so.
        """

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """Make the artifacts in staging; the facts to remember."""
