"""`StepKind`, the Protocol of the classes in `STEPS`: a `Step` that is declared from a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from typing_extensions import override

from bangerbuild.model import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model.recovered import Stray, Unrecovered


class StepKind(Step, Protocol):
    """A kind of step, as the registry has it."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Every kind that such a step can be of; most have one."""

    stray_table: ClassVar[str] = "vm"
    """Whose directories `stray` is asked about."""

    @classmethod
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | Unrecovered | None:  # noqa: ARG003
        """What a file is, in the directory of a VM or network that no manifest declares.

        None: it is of another kind.
        """
        return None

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Step]:
        """Every step of this kind that the manifest asks for."""


class Identified(StepKind):
    """A step of a VM, of which there may be many. Its id is made once: a plan asks for it a dozen times."""

    _id: str
    _changes: str
    """The disk, of a step that changes one."""
    _inputs: tuple[str, ...]
    """Of a step whose inputs take time to tell."""

    @property
    @override
    def id(self) -> str:
        return self._id

    def _keep(self, **values: object) -> None:
        """Give a frozen step what is told from its fields, while it is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)
