"""What steps share that look into no guest before they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bangerbuild.model import Preview

if TYPE_CHECKING:
    from bangerbuild.model import Reason, View


class Unopened:
    """A step whose artifacts no guest writes, or whose patch is the one to look into them."""

    kind: ClassVar[str]

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """See Step."""
        return (cls.kind,)

    def inspect(self, view: View) -> tuple[Reason, ...]:  # noqa: ARG002  # there is nothing to look for
        """See Step."""
        return ()

    def preview(self, view: View, *, is_untouched: bool, remakes_disk: bool) -> Preview:  # noqa: ARG002  # it writes into no guest
        """See Step."""
        return Preview()
