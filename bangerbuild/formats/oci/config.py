"""The configuration of an image: what it says of the program to run, its platform, its layers' contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.formats.oci.blobs import is_digest
from bangerbuild.formats.oci.platforms import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.formats.oci.documents import Document


@dataclass(frozen=True)
class ImageConfig:
    """What an image says of the program it is made for. Nothing of it changes the tree."""

    env: tuple[str, ...] = ()
    """`NAME=VALUE`, in its order."""
    working_dir: str = ""
    user: str = ""
    """A name or number, or two of them with `:` between; empty: root."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    """The arguments for the entrypoint, or the program itself where there is none."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """All that is read of a configuration document."""

    config: ImageConfig
    platform: Platform | None
    """None where it does not say."""
    diff_ids: tuple[str, ...]
    """The digest of each layer's tarball, the lowest first."""


def parse_configuration(document: Document) -> Configuration:
    """What the document says; SourceError if it is damaged."""
    settings = document.table("config")
    config = ImageConfig(
        env=settings.texts("Env"),
        working_dir=settings.text("WorkingDir"),
        user=settings.text("User"),
        entrypoint=settings.texts("Entrypoint"),
        cmd=settings.texts("Cmd"),
        labels=settings.text_table("Labels"),
    )
    return Configuration(config, platform_of(document), _diff_ids(document.table("rootfs")))


def platform_of(document: Document) -> Platform | None:
    """What `os`, `architecture` and `variant` of a document say; None where they are missing."""
    os, architecture = document.text("os"), document.text("architecture")
    return Platform(os, architecture, document.text("variant")) if os and architecture else None


def _diff_ids(rootfs: Document) -> tuple[str, ...]:
    found = rootfs.texts("diff_ids")
    if wrong := next((text for text in found if not is_digest(text)), None):
        raise rootfs.wrong("diff_ids", f"holds what is no digest: {wrong!r}")
    return found
