"""The configuration document of an image: the program to run, the platform, the digests of the layers."""

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
    """How a container runs the image's program. Nothing of it changes the tree."""

    env: tuple[str, ...] = ()
    """`NAME=VALUE`, in the document's order."""
    working_dir: str = ""
    user: str = ""
    """`USER` or `USER:GROUP`, names or numbers; empty: root."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    """The arguments of the entrypoint, or the command itself if there is no entrypoint."""
    volumes: tuple[str, ...] = ()
    """Paths at which a runtime mounts a filesystem for data."""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Configuration:
    """The fields of a configuration document that are used here."""

    config: ImageConfig
    platform: Platform | None
    """None if it is not stated."""
    diff_ids: tuple[str, ...]
    """The digest of each layer's uncompressed tarball, the lowest layer first."""


def parse_configuration(document: Document) -> Configuration:
    """Parse a configuration document; SourceError if it is damaged."""
    settings = document.table("config")
    config = ImageConfig(
        env=settings.texts("Env"),
        working_dir=settings.text("WorkingDir"),
        user=settings.text("User"),
        entrypoint=settings.texts("Entrypoint"),
        cmd=settings.texts("Cmd"),
        volumes=tuple(sorted(settings.table("Volumes").fields)),
        stop_signal=settings.text("StopSignal"),
        labels=settings.text_table("Labels"),
    )
    return Configuration(config, platform_of(document), _diff_ids(document.table("rootfs")))


def platform_of(document: Document) -> Platform | None:
    """The platform in the fields `os`, `architecture` and `variant`; None if they are missing."""
    os, architecture = document.text("os"), document.text("architecture")
    return Platform(os, architecture, document.text("variant")) if os and architecture else None


def _diff_ids(rootfs: Document) -> tuple[str, ...]:
    found = rootfs.texts("diff_ids")
    for text in found:
        if not is_digest(text):
            raise rootfs.wrong("diff_ids", f"holds what is no digest: '{text}'")
    return found
