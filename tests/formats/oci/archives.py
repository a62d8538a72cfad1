"""Archives of images for tests, put together member by member, so that any of it can be wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from bangerbuild.errors import SourceError
from bangerbuild.model import HostPath
from bangerbuild.sources.oci_archive import OciArchiveSource
from tests.formats.oci.making import digest_of, directory, hard_link, layout_of, symlink, tarball, whiteout
from tests.formats.oci.reading import archived
from tests.formats.tarmaking import END, member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NAME = "image.tar"
LOWER = tarball(directory(b"etc", mode=0o750), member(b"etc/a", b"one"), member(b"etc/b", b"two" * 5000))
UPPER = tarball(whiteout(b"etc/a"), member(b"etc/c", b"three"), hard_link(b"d", b"etc/c"))
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip in parts": lambda data: (
        b"".join(gzip.compress(data[at : at + 3000]) for at in range(0, len(data), 3000)) + bytes(100)
    ),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


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


def legacy(*layers: bytes, tags: tuple[str, ...] = ("app:1",)) -> list[bytes]:
    """As Docker wrote them until version 24; layers that come again are symlinks."""
    config = config_of([digest_of(layer) for layer in layers])
    name = digest_of(config).removeprefix("sha256:") + ".json"
    first: dict[bytes, int] = {}
    members = [member(name.encode(), config)]
    for number, layer in enumerate(layers):
        members += [folder(b"%d/" % number), member(b"%d/VERSION" % number, b"1.0")]
        if layer in first:
            members.append(symlink(b"%d/layer.tar" % number, b"../%d/layer.tar" % first[layer]))
        else:
            members.append(member(b"%d/layer.tar" % number, layer))
            first[layer] = number
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    return [*members, listing(item(name, *paths, tags=tags)), member(b"repositories", b"{}")]


def refusal(source: OciArchiveSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        archived(source)
    assert caught.value.brief.startswith(f"'{source.transport}:image.tar")
    assert "\n" not in caught.value.brief
    return caught.value
