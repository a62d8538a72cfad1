"""`StepKind`, the Protocol of the classes in `STEPS`: a `Step` that is declared from a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bangerbuild.model import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.declared import Manifest


class StepKind(Step, Protocol):
    """A kind of step, as the registry has it."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Every kind that such a step can be of; most have one."""

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Step]:
        """Every step of this kind that the manifest asks for."""
