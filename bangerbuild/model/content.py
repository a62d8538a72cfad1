"""Content from outside the store that a step reads: its place on this host, or what it is pinned to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.host.secrets import SecretOrigin


NO_RECIPE = {"recipe": False}
"""Metadata of a field that decides no byte, such as where bytes come from: it is left out of the recipe."""


@dataclass(frozen=True)
class HostPath:
    """A file or directory of the host: its absolute path, and the words that named it in the manifest.

    A recipe holds neither: what counts is the content, which is a `Source`.
    """

    path: Path = field(metadata=NO_RECIPE)
    written: str = field(metadata=NO_RECIPE)


@dataclass(frozen=True)
class Pin:
    """What a source elsewhere stood for when it was asked; from then on it stands for that."""

    digest: str
    """sha256, 64 hex digits: of a download, of a container image's manifest, of the tarball of a suite."""
    platform: str | None = None
    """Of a container image, such as `linux/amd64`."""
    versions: str | None = None
    """Of a tarball made of packages: the digest of their names and versions."""
    digests: tuple[str, ...] = ()
    """Of the images that a build starts from, in their order: `digest` is theirs together."""


@dataclass(frozen=True)
class Secret:
    """Content that a manifest only says the origin of. What it is, steps, plans and records never hold."""

    origin: SecretOrigin
    file: str = field(compare=False)
    """The manifest, its line and its key that say so, for messages."""
    line: int = field(compare=False)
    key: str = field(compare=False)


@dataclass(frozen=True)
class Revealed:
    """A secret, in the memory of the run that needs it."""

    content: bytes = field(repr=False)
    salt: str
    """A keyed digest of it, hex digits: what makes the digests in the records of this content its own."""


@dataclass(frozen=True)
class Source:
    """A host file or directory that a step reads, or what lies elsewhere and was pinned.

    Its content counts in the recipe under `role`, which is a place in the manifest and not a path, so that
    the same manifest gives the same fingerprint in every directory.
    """

    role: str
    path: Path | None
    """None: it lies elsewhere, and its pin is its digest."""
    written: str
    """The path as the manifest has it, for messages."""
    rules: TreeRules | None = None
    """What of a tree counts; None: a single file, of which only the content does."""
    pin: str | None = None
    """The digest of what lies elsewhere, if the manifest itself gives it."""
    secret: Secret | None = None
    """What is to be kept to oneself: the digest of such a source is keyed."""
    surveyed: bool = False
    """Whether the step reads the tree by `View.survey`: then it is kept from when its digest is taken."""
    parts_from_bytes: int | None = None
    """From what size on the digest of a single file is made of those of its parts, see `clone.digest`, for
    which holes are not read; None: it is its SHA-256."""

    @property
    def content_key(self) -> object:
        """The same for sources of which the digest is the same, whatever their roles are."""
        return self.path, self.rules, self.parts_from_bytes, self.pin, self.secret
