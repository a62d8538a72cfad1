"""Base classes of sources: files of the host, content that is elsewhere, sources that are never locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.model import Pin, Source
from bangerbuild.sources.source import DeclaredSource, ImageSource, Resolution, SourceKind, pinned_content

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.host.process import Program
    from bangerbuild.model import HostPath
    from bangerbuild.sources.source import AskContext, LockWords


@dataclass(frozen=True)
class HostFile(DeclaredSource):
    """A source that is one file of the host; its content is its digest, and the lock file may check it."""

    word: ClassVar[str]
    programs: ClassVar[tuple[Program, ...]] = ()
    resolution: ClassVar[Resolution] = Resolution.READ
    own_pin: ClassVar[Pin | None] = None
    host_trees: ClassVar[tuple[Path, ...]] = ()
    parts_from_bytes: ClassVar[int | None] = None
    """See `Source`. The lock file has the SHA-256, whatever this says."""

    path: HostPath

    @property
    @override
    def written(self) -> str:
        """What messages call it."""
        return self.path.written

    @property
    @override
    def lock_words(self) -> LockWords | None:
        """What its entry in the lock file begins with."""
        return {self.word: self.written}

    @property
    @override
    def host_paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path.path,)

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:  # the content speaks
        """Its digest."""
        return Pin(context.digest(Source("", self.path.path, self.path.written)))

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        """Its content, under a role that names the kind: `rootfs.tar`."""
        parts_from_bytes = self.parts_from_bytes
        path, written = self.path.path, self.path.written
        return (Source(f"{role}.{self.word}", path, written, parts_from_bytes=parts_from_bytes),)


@dataclass(frozen=True)
class Elsewhere(DeclaredSource, SourceKind):
    """A source that lies elsewhere: what it stands for is asked once and kept in the lock file."""

    word: ClassVar[str]
    programs: ClassVar[tuple[Program, ...]] = ()
    resolution: ClassVar[Resolution] = Resolution.LOCKED
    host_paths: ClassVar[tuple[Path, ...]] = ()
    host_trees: ClassVar[tuple[Path, ...]] = ()

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        """What it is pinned to, under a role that names the kind."""
        return pinned_content(f"{role}.{self.word}", self)


class DeclaredSize(ImageSource):
    """An image source whose filesystem has the declared size; without one, that is known when it is made."""

    @property
    @override
    def known_bytes(self) -> int | None:
        return self.size_bytes


class Independent(ImageSource):
    """An image source that needs no other step."""

    inputs: ClassVar[tuple[str, ...]] = ()
    based_on: ClassVar[str | None] = None


class NeverLocked(DeclaredSource):
    """A source that has no entry in the lock file, because a digest of its content counts in every run."""

    resolution: ClassVar[Resolution] = Resolution.READ
    lock_words: ClassVar[LockWords | None] = None
    own_pin: ClassVar[Pin | None] = None

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """It is never asked; that it is would be a bug."""
        raise NotImplementedError(f"{type(self).__name__} has no entry in the lock file")
