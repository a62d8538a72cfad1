"""What several kinds of source share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from bangerbuild.model import Pin, Source
from bangerbuild.sources.source import DeclaredSource, Resolution, SourceKind, pinned_content

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import HostPath
    from bangerbuild.sources.source import AskContext, LockWords, Program


@dataclass(frozen=True)
class HostFile:
    """A source that is one file of the host; its content is its digest, and the lock file may check it."""

    word: ClassVar[str]
    programs: ClassVar[tuple[Program, ...]] = ()
    resolution: ClassVar[Resolution] = Resolution.READ
    own_pin: ClassVar[Pin | None] = None
    host_trees: ClassVar[tuple[Path, ...]] = ()

    path: HostPath

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.path.written

    @property
    def lock_words(self) -> LockWords | None:
        """What its entry in the lock file begins with."""
        return {self.word: self.written}

    @property
    def host_paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path.path,)

    def ask(self, context: AskContext, before: Pin | None) -> Pin:  # noqa: ARG002  # the content speaks
        """Its digest."""
        return Pin(context.digest(Source("", self.path.path, self.path.written)))

    def reads(self, role: str) -> tuple[Source, ...]:
        """Its content, under a role that names the kind: `rootfs.tar`."""
        return (Source(f"{role}.{self.word}", self.path.path, self.path.written),)


class _Worded(DeclaredSource, SourceKind, Protocol):
    """A source whose kind has a word."""


@dataclass(frozen=True)
class Elsewhere:
    """A source that lies elsewhere: what it stands for is asked once and kept in the lock file."""

    word: ClassVar[str]
    programs: ClassVar[tuple[Program, ...]] = ()
    resolution: ClassVar[Resolution] = Resolution.LOCKED
    host_paths: ClassVar[tuple[Path, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    def reads(self: _Worded, role: str) -> tuple[Source, ...]:
        """What it is pinned to, under a role that names the kind."""
        return pinned_content(f"{role}.{self.word}", self)


class DeclaredSize:
    """An image source whose filesystem has the declared size; without one, that is known when it is made."""

    size_bytes: int | None

    @property
    def known_bytes(self) -> int | None:
        """See ImageSource."""
        return self.size_bytes


class Independent:
    """An image source that needs no other step."""

    inputs: ClassVar[tuple[str, ...]] = ()
    based_on: ClassVar[str | None] = None


class NeverLocked:
    """A source that has no entry in the lock file, because a digest of its content counts in every run."""

    resolution: ClassVar[Resolution] = Resolution.READ
    lock_words: ClassVar[LockWords | None] = None
    own_pin: ClassVar[Pin | None] = None

    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """It is never asked; that it is would be a bug."""
        raise NotImplementedError(f"{type(self).__name__} has no entry in the lock file")
