"""Push an artifact into a registry.

Chunks that the registry has are not moved, and those that were moved before are not compressed again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.cache_registry import chunks
from bangerbuild.cache_registry.artifact import (
    MOST_DESCRIPTION_BYTES,
    MOST_MANIFEST_BYTES,
    BuiltFile,
    Description,
    Manifest,
    parse_manifest,
    sha256,
)
from bangerbuild.disk import clone
from bangerbuild.errors import SourceError, StoreError, readable_size
from bangerbuild.fetch import layouts
from bangerbuild.formats.oci import skopeo
from bangerbuild.formats.oci.digests import SHA256
from bangerbuild.formats.oci.mediatypes import OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.cache_registry.blobs import Blobs
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.model import Json


LEAST_SECONDS, LEAST_BYTES_PER_SECOND = 600.0, 32 << 10
"""A registry that takes less is broken off."""


@dataclass(frozen=True)
class Built:
    """An artifact as it lies in a store."""

    kind: str
    fingerprint: str
    files: Sequence[Path]
    facts: Mapping[str, Json]


@dataclass(frozen=True)
class Pushed:
    """What a registry has now."""

    digest: str
    """Of the description."""
    size_bytes: int
    """Of all that belongs to it, as it is transported."""
    was_there: bool
    """Whether the registry had it before."""


def describe(built: Built) -> Description:
    """What was built.

    Raises:
        StoreError: it can't be read.
    """
    try:
        files = tuple(BuiltFile(path.name, path.stat().st_size, clone.digest(path)) for path in built.files)
    except OSError as err:
        raise StoreError(f"'{err.filename}': {(err.strerror or str(err)).lower()}") from err
    return Description(built.kind, built.fingerprint, files, built.facts)


def push(built: Built, description: Description, tag: Reference, part: str, blobs: Blobs) -> Pushed:
    """Push an artifact.

    Args:
        built: where it is.
        description: what it is, see `describe`.
        tag: where to.
        part: of the image, as the next push of the same part is likely to be similar.
        blobs: the user's cache.

    Raises:
        SourceError, ToolError: the registry refuses it, or fails.
        StoreError, CacheError: it can't be read, or there is no room for its chunks.
    """
    document = description.document()
    there = present(tag)
    if there is not None and there.description == sha256(document):
        return Pushed(there.description, sum(there.blobs.values()), was_there=True)
    try:
        manifest = _manifest(built, document, tag, part, blobs)
        try:
            _copy(manifest, tag, blobs)
        except SourceError:
            if not blobs.drop_all_damaged(manifest.blobs):
                raise
            manifest = _manifest(built, document, tag, part, blobs)
            _copy(manifest, tag, blobs)
    except OSError as err:
        raise StoreError(f"'{err.filename}': {(err.strerror or str(err)).lower()}") from err
    blobs.note(tag.name, part, sha256(manifest.document()))
    return Pushed(manifest.description, sum(manifest.blobs.values()), was_there=False)


def present(tag: Reference) -> Manifest | None:
    """What a registry has under a tag; None: nothing that we pushed.

    Raises:
        SourceError, ToolError: it gives no answer.
    """
    try:
        completed = skopeo.run(skopeo.inspect_digest(tag, environ=os.environ), tag, "asked for")
    except SourceError as err:
        if skopeo.is_missing(err):
            return None
        raise
    try:
        return parse_manifest(skopeo.document_in(completed.output), str(tag))
    except SourceError:
        return None


def _manifest(built: Built, document: bytes, tag: Reference, part: str, blobs: Blobs) -> Manifest:
    """Compress what was not compressed before."""
    known = _known(blobs.last(tag.name, part), blobs)
    parts = [chunk for path in built.files for chunk in chunks.cut(path, path.name, known, blobs.keep)]
    if len(document) > MOST_DESCRIPTION_BYTES:
        raise SourceError(f"'{tag}' can't be pushed: what is remembered of it is too large")
    manifest = Manifest(*blobs.keep(document), tuple(parts))
    if len(manifest.document()) > MOST_MANIFEST_BYTES:
        most = readable_size(MOST_MANIFEST_BYTES)
        raise SourceError(f"'{tag}' can't be pushed: the list of its chunks has more than {most}")
    return manifest


def _known(last: Manifest | None, blobs: Blobs) -> Callable[[str], tuple[str, int] | None]:
    """The blobs of the chunks that were moved last, by the chunks' digests."""
    found = {one.digest: (one.blob, one.blob_bytes) for one in last.chunks} if last else {}
    gone = blobs.missing({blob for blob, _ in found.values()})
    return {digest: blob for digest, blob in found.items() if blob[0] not in gone}.get


def _copy(manifest: Manifest, tag: Reference, blobs: Blobs) -> None:
    """Have skopeo push it."""
    digest, size_bytes = blobs.keep(manifest.document())
    with blobs.cache() as cache, layouts.directory(cache) as layout:
        descriptor: dict[str, str | int] = {
            "mediaType": OCI_MANIFEST,
            "digest": SHA256 + digest,
            "size": size_bytes,
        }
        layouts.write_index(layout, descriptor)
        command = skopeo.copy_from_layout(layout, tag, environ=os.environ)
        seconds = LEAST_SECONDS + sum(manifest.blobs.values()) / LEAST_BYTES_PER_SECOND
        skopeo.run(replace(command, timeout_seconds=seconds), tag, "pushed")
