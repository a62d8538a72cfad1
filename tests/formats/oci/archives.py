"""Archives of images for tests, put together member by member, so that any of it can be wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bangerbuild.model import HostPath
from bangerbuild.sources.oci_archive import OciArchiveSource
from tests.formats.oci.making import directory, layout_of
from tests.formats.tarmaking import END, member

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "image.tar"


def oci_archive(path: Path, tag: str | None = None, max_size_bytes: int | None = None) -> OciArchiveSource:
    """An `oci-archive:` at `path`, as messages call it `oci-archive:image.tar`."""
    host = HostPath(path, NAME)
    return OciArchiveSource(host, "oci-archive", tag, "linux/amd64", max_size_bytes=max_size_bytes)


def docker_archive(path: Path, tag: str | None = None, platform: str = "linux/amd64") -> OciArchiveSource:
    """A `docker-archive:` at `path`, as messages call it `docker-archive:image.tar`."""
    return OciArchiveSource(HostPath(path, NAME), "docker-archive", tag, platform)


def members_of(layout: Path) -> dict[bytes, bytes]:
    """The files of a layout by their names."""
    files = sorted(path for path in layout.rglob("*") if path.is_file())
    return {str(path.relative_to(layout)).encode(): path.read_bytes() for path in files}


def image_members(path: Path, *layers: bytes) -> dict[bytes, bytes]:
    """The files of a layout with an image of these tarballs, which is made at `path`."""
    return members_of(layout_of(path, *layers))


def packed(path: Path, *members: bytes, end: bytes = END) -> Path:
    """A tarball of these members."""
    path.write_bytes(b"".join(members) + end)
    return path


def packed_files(path: Path, files: dict[bytes, bytes], *others: bytes) -> Path:
    """A tarball of these files, and what comes after them."""
    return packed(path, *(member(name, data) for name, data in files.items()), *others)


def config_of(diff_ids: Sequence[str], architecture: str = "amd64", **more: Any) -> bytes:  # noqa: ANN401 - JSON
    """The configuration of an image."""
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    return json.dumps({"os": "linux", "architecture": architecture, "rootfs": rootfs, **more}).encode()


def listing(*items: object) -> bytes:
    """The member that lists the images of Docker's archives."""
    return member(b"manifest.json", json.dumps(list(items)).encode())


def item(config: str, *layers: str, tags: Sequence[str] | None = None) -> dict[str, object]:
    """One image of that list."""
    return {"Config": config, "RepoTags": None if tags is None else list(tags), "Layers": list(layers)}


def folder(name: bytes) -> bytes:
    """The member of a directory, as archives have them between their files."""
    return directory(name)
