"""A base for steps that read no guest's disk while a plan is made: their inspection and preview are empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.model import Preview
from bangerbuild.model.recovered import Recovered
from bangerbuild.steps.step_kind import StepKind

if TYPE_CHECKING:
    from bangerbuild.model import Reason, View
    from bangerbuild.model.recovered import Unrecovered


class Unopened(StepKind):
    """A step whose artifacts no guest writes, or whose patch is the one to look into them."""

    kind: ClassVar[str]

    @classmethod
    @override
    def kinds(cls) -> tuple[str, ...]:
        return (cls.kind,)

    @override
    def inspect(self, view: View) -> tuple[Reason, ...]:  # there is nothing to look for
        return ()

    @override
    def recover(self, view: View, artifacts: tuple[str, ...]) -> Recovered | Unrecovered | None:
        """Artifacts that nobody writes to are what their fingerprint says, which is in their path."""
        if not all(view.path(artifact).is_file() for artifact in artifacts):
            return None
        return Recovered(artifacts)

    @override
    def obstacles(self, view: View, made_from: str) -> tuple[Reason, ...]:  # what it makes lies in no guest
        return ()

    @override
    def preview(self, view: View, *, is_untouched: bool, remakes_disk: bool, in_full: bool = True) -> Preview:
        return Preview()  # it writes into no guest

    @override
    def warnings(self, view: View, *, is_new: bool) -> tuple[str, ...]:
        return ()
