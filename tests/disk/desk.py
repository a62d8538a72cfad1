"""A job that is a directory, for mechanisms that make and change disks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from tests.fakes import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.epoch import Epoch

T = TypeVar("T")


@dataclass
class Desk:
    """A job that makes or changes one disk: the directory it lies in."""

    staging: Path
    warnings: list[str] = field(default_factory=list)
    fingerprint: str = "f"
    epoch: Epoch = EPOCH
    digests: dict[str, str] = field(default_factory=dict)
    _made: dict[object, object] = field(default_factory=dict)
    _kept: ExitStack = field(default_factory=ExitStack)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """Open until `close`."""
        if key not in self._made:
            self._made[key] = self._kept.enter_context(make())
        return cast("T", self._made[key])

    def close(self) -> None:
        self._kept.close()

    @contextmanager
    def using(self, _key: object, make: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
        with make() as made:
            yield made

    def has_digest(self, artifact: str, digest: str) -> None:
        self.digests[artifact] = digest

    def path(self, artifact: str) -> Path:
        return self.staging / artifact

    def copy(self, artifact: str, *, sharing: bool) -> Path | None:
        """The disk lies in staging already."""
        return None if sharing else self.staging / artifact

    @contextmanager
    def in_place(self, artifact: str) -> Iterator[Path]:
        yield self.staging / artifact
