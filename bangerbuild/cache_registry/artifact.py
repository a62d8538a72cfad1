"""The format of an artifact: its description, and the manifest that lists the chunks of its files.

    description     {"facts": {…}, "files": [{"digest", "name", "size"}], "fingerprint", "kind", "version"}
    a layer         a chunk: annotated with the file that it is of, and its offset, size and sha256 in it

Both are canonical JSON without times, so that the same build gives the same bytes on each machine. Whoever
trusts the digest of a description trusts the files: it has their digests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, readable_size
from bangerbuild.formats.oci.digests import SHA256, pin_digest
from bangerbuild.formats.oci.documents import parse_document
from bangerbuild.formats.oci.mediatypes import OCI_MANIFEST
from bangerbuild.model.fingerprint import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.formats.oci.documents import Document
    from bangerbuild.model import Json

DESCRIPTION_TYPE = "application/vnd.bangerbuild.artifact.v1+json"
CHUNK_TYPE = "application/vnd.bangerbuild.chunk.v1+zstd"
FILE, OFFSET, SIZE, DIGEST = (f"dev.bangerbuild.{word}" for word in ("file", "offset", "size", "digest"))
"""The annotations of a layer."""
CHUNK_BYTES = 4 << 20
MOST_BLOB_BYTES = CHUNK_BYTES + (64 << 10)
"""Of a compressed chunk: zstd adds less than this to what it can't compress."""
MOST_MANIFEST_BYTES = 4 << 20
"""What registries take; enough for some 40 GiB of data."""
MOST_DESCRIPTION_BYTES = 1 << 20
MOST_FILE_BYTES = 1 << 46
VERSION = 1
_MOST_DIGITS = 16
_DIGEST_DIGITS = 64


@dataclass(frozen=True)
class BuiltFile:
    """A file of an artifact."""

    name: str
    """In the directory of the image."""
    size_bytes: int
    digest: str
    """See `disk/clone.py`."""


@dataclass(frozen=True)
class Description:
    """What was built."""

    kind: str
    """Of the step."""
    fingerprint: str
    files: tuple[BuiltFile, ...]
    facts: Mapping[str, Json]
    """What the step that built it remembers."""

    def document(self) -> bytes:
        """The configuration of the artifact."""
        files: list[Json] = [
            {"name": one.name, "size": one.size_bytes, "digest": one.digest} for one in self.files
        ]
        return canonical_json(
            {
                "version": VERSION,
                "kind": self.kind,
                "fingerprint": self.fingerprint,
                "files": files,
                "facts": dict(self.facts),
            }
        ).encode()


@dataclass(frozen=True)
class Chunk:
    """A part of a file, compressed."""

    file: str
    offset: int
    size_bytes: int
    digest: str
    """Of the part itself, sha256."""
    blob: str
    """The digest of its compressed form."""
    blob_bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a registry has under the tag of an artifact."""

    description: str
    """The digest of the description."""
    description_bytes: int
    chunks: tuple[Chunk, ...]

    @property
    def blobs(self) -> dict[str, int]:
        """The digests and sizes of all blobs, each once."""
        return {
            self.description: self.description_bytes,
            **{one.blob: one.blob_bytes for one in self.chunks},
        }

    def document(self) -> bytes:
        """The manifest."""
        layers: list[Json] = [_layer(chunk) for chunk in self.chunks]
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {
                    "mediaType": DESCRIPTION_TYPE,
                    "digest": SHA256 + self.description,
                    "size": self.description_bytes,
                },
                "layers": layers,
            }
        ).encode()


def _layer(chunk: Chunk) -> Json:
    annotations: dict[str, Json] = {
        FILE: chunk.file,
        OFFSET: str(chunk.offset),
        SIZE: str(chunk.size_bytes),
        DIGEST: SHA256 + chunk.digest,
    }
    return {
        "mediaType": CHUNK_TYPE,
        "digest": SHA256 + chunk.blob,
        "size": chunk.blob_bytes,
        "annotations": annotations,
    }


def parse_manifest(data: bytes, written: str) -> Manifest:
    """The manifest in a document that a registry gave.

    Raises:
        SourceError: it is none.
    """
    if len(data) > MOST_MANIFEST_BYTES:
        raise SourceError(f"'{written}' has a manifest of more than {readable_size(MOST_MANIFEST_BYTES)}")
    document = parse_document(data, written)
    config = document.table("config")
    if config.text("mediaType") != DESCRIPTION_TYPE:
        raise SourceError(f"'{written}' is no image that bangerbuild has pushed")
    described = config.descriptor()
    if described.size_bytes > MOST_DESCRIPTION_BYTES:
        raise config.wrong("size", "is too large")
    chunks = tuple(_parsed_chunk(layer, written) for layer in document.tables("layers"))
    if len({(chunk.file, chunk.offset) for chunk in chunks}) < len(chunks):
        raise document.wrong("layers", "has two chunks for one place")
    return Manifest(pin_digest(described.digest, written), described.size_bytes, chunks)


def _parsed_chunk(layer: Document, written: str) -> Chunk:
    described = layer.descriptor()
    said = layer.text_table("annotations")
    if described.media_type != CHUNK_TYPE:
        raise layer.wrong("mediaType", f"is not '{CHUNK_TYPE}'")
    if described.size_bytes > MOST_BLOB_BYTES:
        raise layer.wrong("size", "is more than a chunk can have")
    offset, size_bytes = _number(layer, said, OFFSET), _number(layer, said, SIZE)
    if offset % CHUNK_BYTES or not 0 < size_bytes <= CHUNK_BYTES:
        raise layer.wrong("annotations", "says no place of a chunk")
    digest = pin_digest(said.get(DIGEST, ""), written)
    if len(digest) != _DIGEST_DIGITS:
        raise layer.wrong("annotations", f"says no '{DIGEST}'")
    blob = pin_digest(described.digest, written)
    return Chunk(said.get(FILE, ""), offset, size_bytes, digest, blob, described.size_bytes)


def _number(layer: Document, said: Mapping[str, str], key: str) -> int:
    text = said.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise layer.wrong("annotations", f"says no '{key}'")
    return int(text)


def parse_description(data: bytes, written: str) -> Description:
    """The description in the configuration of an artifact.

    Raises:
        SourceError: it is none, or of another version.
    """
    document = parse_document(data, written)
    if document.fields.get("version") != VERSION:
        raise SourceError(f"'{written}' was pushed by another version of bangerbuild")
    files = tuple(_parsed_file(one) for one in document.tables("files"))
    facts = document.table("facts").fields
    try:
        canonical_json(dict(facts))
    except ValueError as err:  # as of a number that is none
        raise document.wrong("facts", "can't be kept") from err
    return Description(document.text("kind"), document.text("fingerprint"), files, facts)


def _parsed_file(document: Document) -> BuiltFile:
    name, digest, size = document.text("name"), document.text("digest"), document.fields.get("size")
    if not name or name != name.rpartition("/")[2] or name.startswith("."):
        raise document.wrong("name", "is no name of a file")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MOST_FILE_BYTES:
        raise document.wrong("size", "is no size")
    return BuiltFile(name, size, digest)


def chunks_of(description: Description, manifest: Manifest, written: str) -> dict[str, Sequence[Chunk]]:
    """The chunks of each file, which must lie within it.

    Raises:
        SourceError: one is of no file, or goes beyond its end.
    """
    sizes = {file.name: file.size_bytes for file in description.files}
    found: dict[str, list[Chunk]] = {name: [] for name in sizes}
    for chunk in manifest.chunks:
        if chunk.file not in sizes or chunk.offset + chunk.size_bytes > sizes[chunk.file]:
            raise SourceError(f"'{written}' is damaged: a chunk of '{chunk.file}' lies beyond its end")
        found[chunk.file].append(chunk)
    return dict(found)


def sha256(data: bytes) -> str:
    """In hex digits."""
    return hashlib.sha256(data).hexdigest()
