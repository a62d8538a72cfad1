"""What steps share that look into no guest before they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.model import Preview

if TYPE_CHECKING:
    from bangerbuild.model import Reason, View


class Unopened:
    """A step whose artifacts no guest writes, or whose patch is the one to look into them."""

    @property
    def likeness(self) -> object:
        """See Step."""
        return None

    def inspect(self, view: View) -> tuple[Reason, ...]:  # noqa: ARG002  # there is nothing to look for
        """See Step."""
        return ()

    def preview(self, view: View, *, is_untouched: bool) -> Preview:  # noqa: ARG002  # it writes nothing into a guest
        """See Step."""
        return Preview()
