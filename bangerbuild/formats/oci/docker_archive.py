"""Archives made by `docker save`: `manifest.json` lists images, each with its configuration and layers.

Docker versions have used three layouts (github.com/moby/moby, image/tarexport): layers as `HASH/layer.tar`,
the same with symlinks for repeated layers, and `blobs/sha256/HEX`. A layer is verified by the digest of its
tarball in the configuration, and the configuration by the digest in its name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import MAGIC_BYTES, compression_of
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import tree_path
from bangerbuild.formats.oci.blobs import Descriptor, blob_name, digest_of
from bangerbuild.formats.oci.candidates import Candidate, choose
from bangerbuild.formats.oci.config import Configuration, parse_configuration
from bangerbuild.formats.oci.documents import parse_document, parse_documents, quoted_list
from bangerbuild.formats.oci.layout import Layer, OciImage, layer_name, read_document
from bangerbuild.formats.oci.layout_files import DAMAGED_HINT, DOCKER_MANIFEST
from bangerbuild.formats.oci.mediatypes import DOCKER_CONFIG, DOCKER_LAYER
from bangerbuild.formats.oci.reference import parse_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.formats.oci.documents import Document
    from bangerbuild.formats.oci.layout_files import TarLayout
    from bangerbuild.formats.oci.platforms import Platform

_INDEX_MARK = "@"
_DIGEST_IN_NAME = re.compile(r"(?:^|[/:])([0-9a-f]{64})(?:\.json)?$")
"""The digest in a configuration's name: `HEX.json`, `sha256:HEX` or `blobs/sha256/HEX`."""
_NAMES_SHOWN = 20


@dataclass(frozen=True)
class DockerImage:
    """One image of an archive, and a layout that gives its layers as blobs while the archive is open."""

    layout: TarLayout
    image: OciImage


def resolve(archive: TarLayout, tag: str | None, platform: Platform, *, written: str) -> DockerImage:
    """Find the image with a name in an archive, for a platform.

    Documents are read. Compressed layers are read too, because no document states the digests of their blobs.

    Args:
        archive: the open tarball.
        tag: `NAME`, `NAME:TAG`, or `@INDEX` counted from 0; None if the archive has one image only.
        platform: the platform that the image must run on.
        written: the image's name in messages.

    Raises:
        SourceError: it is no archive of Docker's, is damaged, or has no such image.
    """
    if archive.size_of(DOCKER_MANIFEST, written) is None:
        raise SourceError(
            f"'{written}' is no archive of Docker's: it has no '{DOCKER_MANIFEST}'", hint=archive.hint()
        )
    name = f"{written}: {DOCKER_MANIFEST}"
    items = parse_documents(read_document(archive, DOCKER_MANIFEST, name), name)
    return _ArchiveResolver(archive, platform, written).image(_chosen(items, tag, written))


def _chosen(items: Sequence[Document], tag: str | None, written: str) -> Document:
    if not items:
        raise SourceError(f"'{written}' holds no image")
    if tag is None:
        if len(items) > 1:
            raise SourceError(f"'{written}' holds several images", hint=f"name one of them: {_listed(items)}")
        return items[0]
    if tag.startswith(_INDEX_MARK):
        wanted = tag.removeprefix(_INDEX_MARK).lstrip("0") or "0"
        found = [item for index, item in enumerate(items) if str(index) == wanted]
    else:
        wanted = _full_name(tag)
        found = [item for item in items if wanted in map(_full_name, item.texts("RepoTags"))]
    if not found:
        raise SourceError(f"'{written}' has no image '{tag}'", hint=_listed(items))
    return found[0]


def _full_name(name: str) -> str:
    """A name as Docker completes it, `docker.io/library/app:latest` for `app`.

    An invalid one is unchanged.
    """
    try:
        return str(parse_name(name))
    except SourceError:
        return name


def _listed(items: Sequence[Document]) -> str:
    """The images for a message: the first name of each, or `@INDEX` if it has none."""
    names = [(item.texts("RepoTags") or (f"{_INDEX_MARK}{index}",))[0] for index, item in enumerate(items)]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"it has {quoted_list(names[:_NAMES_SHOWN])}{more}"


class _ArchiveResolver:
    def __init__(self, archive: TarLayout, platform: Platform, written: str) -> None:
        self._archive = archive
        self._wanted = platform
        self._written = written
        self._blobs: dict[str, Descriptor] = {}
        """By the digest of the tarball: a layer with the same digest is the same, whatever its path."""
        self._names: dict[str, str] = {}
        """The path of each blob in the archive, by its name in a layout."""

    def image(self, item: Document) -> DockerImage:
        manifest, configuration = self._configuration(item)
        candidate = choose([Candidate(manifest, configuration.platform)], self._wanted, self._written)
        image = OciImage(
            manifest.digest,
            candidate.platform or self._wanted,
            self._layers(item, configuration.diff_ids),
            configuration.config,
        )
        return DockerImage(self._archive.with_names(self._names), image)

    def _configuration(self, item: Document) -> tuple[Descriptor, Configuration]:
        written = f"{self._written}: configuration"
        if not item.text("Config"):
            raise item.wrong("Config", "is missing")
        name = self._member(item.text("Config"), written)
        data = read_document(self._archive, name, written)
        digest = hashlib.sha256(data).hexdigest()
        named = _DIGEST_IN_NAME.search(name)
        if named and named[1] != digest:
            raise SourceError(
                f"'{written}' is not what it must be: its digest is '{digest}', and its name '{name}'",
                hint=DAMAGED_HINT,
            )
        described = Descriptor(DOCKER_CONFIG, f"sha256:{digest}", len(data))
        return described, parse_configuration(parse_document(data, written))

    def _layers(self, item: Document, diff_ids: Sequence[str]) -> tuple[Layer, ...]:
        names = item.texts("Layers")
        if len(names) != len(diff_ids):
            raise item.wrong("Layers", f"are {len(names)}, and its configuration has {len(diff_ids)}")
        for number, (name, diff_id) in enumerate(zip(names, diff_ids, strict=True), 1):
            if diff_id not in self._blobs:
                self._blobs[diff_id] = self._blob(
                    name, diff_id, layer_name(self._written, number, len(names))
                )
        return tuple(Layer(self._blobs[diff_id], diff_id) for diff_id in diff_ids)

    def _blob(self, name: str, diff_id: str, written: str) -> Descriptor:
        """The descriptor of a layer. A compressed one gets the digest of its compressed bytes."""
        name = self._member(name, written)
        with self._archive.open_file(name, written) as opened:
            digest = opened.digest or _own_digest(opened.file, written) or diff_id
        self._names[blob_name(digest)] = name
        return Descriptor(DOCKER_LAYER, digest, self._archive.size_of(name, written) or 0)

    def _member(self, name: str, written: str) -> str:
        try:
            return tree_path(name.encode("utf-8", "surrogatepass"))
        except FormatError as err:
            raise SourceError(f"'{written}': '{name}' {err.brief}", hint=DAMAGED_HINT) from err


def _own_digest(layer: BinaryIO, written: str) -> str | None:
    """The digest of a compressed layer; None if the layer is not compressed."""
    is_compressed = compression_of(layer.read(MAGIC_BYTES)) is not None
    return digest_of(layer, "sha256", written) if is_compressed else None
