"""Find an image in an OCI image layout by tag and platform, and read its manifest and configuration.

A layout has `oci-layout`, `index.json` and `blobs` (the specification's image-layout.md). An index may name
further indexes. Docker's media types are accepted too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, readable_size
from bangerbuild.formats.oci import mediatypes
from bangerbuild.formats.oci.blobs import Descriptor, blob_name, check_present, read_blob
from bangerbuild.formats.oci.candidates import Candidate, choose
from bangerbuild.formats.oci.config import ImageConfig, parse_configuration, platform_of
from bangerbuild.formats.oci.documents import Document, parse_document, quoted_list
from bangerbuild.formats.oci.layout_files import DAMAGED_HINT, MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bangerbuild.formats.oci.config import Configuration
    from bangerbuild.formats.oci.layout_files import OciLayout
    from bangerbuild.formats.oci.platforms import Platform

DOCUMENT_BYTES_MAX = 4 << 20
"""The size limit that registries have for a manifest."""
_NESTED_MAX = 8
_TAG_KEY = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Layer:
    """One layer: its blob, and the digest of its uncompressed tarball."""

    blob: Descriptor
    diff_id: str


@dataclass(frozen=True)
class OciImage:
    """One image for one platform."""

    digest: str
    """Of its manifest, `sha256:…`; without a manifest, of its configuration (Docker's image id)."""
    platform: Platform
    layers: tuple[Layer, ...]
    """The lowest layer first."""
    config: ImageConfig


def resolve(layout: OciLayout, tag: str | None, platform: Platform, *, written: str) -> OciImage:
    """Find the image with a tag in a layout, for a platform.

    Documents are read and verified. Of layers, only presence and size are checked.

    Args:
        layout: has the files.
        tag: None if the layout has one image only.
        platform: the platform that the image must run on.
        written: the image's name in messages.

    Raises:
        SourceError: it is no layout, is damaged, or has no such image.
    """
    return _IndexResolver(layout, platform, written).image(tag)


def resolve_digest(layout: OciLayout, digest: str, platform: Platform, *, written: str) -> OciImage:
    """The image whose manifest has this digest, whether or not a tag of the layout stands for it.

    Args:
        layout: has the files.
        digest: `sha256:…`.
        platform: the image's, unless its configuration names another.
        written: the image's name in messages.

    Raises:
        SourceError: the layout no longer holds it, or it is damaged.
    """
    return _IndexResolver(layout, platform, written).pinned(digest)


class _IndexResolver:
    def __init__(self, layout: OciLayout, platform: Platform, written: str) -> None:
        self._layout = layout
        self._wanted = platform
        self._written = written
        self._indexes: set[str] = set()
        self._others: set[str] = set()
        """Media types of entries that are no images."""

    def image(self, tag: str | None) -> OciImage:
        found = tuple(self._candidates(self._tagged(tag), 0))
        return self._image(choose(found, self._wanted, self._written, others=self._others))

    def pinned(self, digest: str) -> OciImage:
        self._layout.check(self._written)
        size_bytes = self._layout.size_of(blob_name(digest), f"{self._written}: manifest")
        if size_bytes is None:
            raise SourceError(
                f"'{self._written}' no longer holds the image that it is pinned to: '{digest}'",
                hint="put that image back, or take what the tag stands for now: bangerbuild lock --upgrade",
            )
        blob = Descriptor(mediatypes.OCI_MANIFEST, digest, size_bytes)
        return self._image(Candidate(blob, None))

    def _tagged(self, tag: str | None) -> Sequence[Document]:
        """The entries of `index.json` that have the tag."""
        self._check_marker()
        entries = self._file("index.json").tables("manifests")
        tags = sorted({_tag_of(entry) for entry in entries} - {None, ""}, key=str)
        listed = f"it has {quoted_list(map(str, tags))}" if tags else "none of its images has a tag"
        if not entries:
            raise SourceError(f"'{self._written}' holds no image")
        if tag is None and len(tags) > 1:
            raise SourceError(f"'{self._written}' holds several images", hint=f"name one of them: {listed}")
        chosen = [entry for entry in entries if tag is None or _tag_of(entry) == tag]
        if not chosen:
            raise SourceError(f"'{self._written}' has no image with the tag '{tag}'", hint=listed)
        return chosen

    def _check_marker(self) -> None:
        self._layout.check(self._written)
        marker = self._file(MARKER)
        version = marker.text("imageLayoutVersion")
        if not version.startswith("1."):
            raise marker.wrong("imageLayoutVersion", f"is '{version}', and 1.0.0 is what is read here")

    def _file(self, name: str) -> Document:
        written = f"{self._written}: {name}"
        if self._layout.size_of(name, written) is None:
            hint = self._layout.hint() if name == MARKER else DAMAGED_HINT
            raise SourceError(f"'{self._written}' is no image layout: it has no '{name}'", hint=hint)
        return parse_document(read_document(self._layout, name, written), written)

    def _candidates(self, entries: Iterable[Document], depth: int) -> Iterator[Candidate]:
        """The manifests that an index lists, also in nested indexes."""
        for entry in entries:
            blob = entry.descriptor()
            if blob.media_type in mediatypes.INDEXES:
                if blob.digest not in self._indexes:
                    yield from self._nested(blob, depth + 1)
            elif blob.media_type in mediatypes.MANIFESTS:
                platform = platform_of(entry.table("platform"))
                yield Candidate(blob, platform or self._own_platform(blob))
            else:
                self._others.add(blob.media_type)

    def _nested(self, blob: Descriptor, depth: int) -> Iterator[Candidate]:
        if depth > _NESTED_MAX:
            raise SourceError(f"'{self._written}' has indexes that lie more than {_NESTED_MAX} deep")
        self._indexes.add(blob.digest)
        index = self._document(blob, "index")
        if "layers" in index.fields or "config" in index.fields:
            raise index.wrong("layers", "makes it an index and a manifest at once")
        yield from self._candidates(index.tables("manifests"), depth)

    def _own_platform(self, manifest: Descriptor) -> Platform | None:
        document = self._document(manifest, "manifest")
        config = document.table("config").descriptor()
        return self._configuration(config).platform if config.media_type in mediatypes.CONFIGS else None

    def _image(self, candidate: Candidate) -> OciImage:
        manifest = self._document(candidate.manifest, "manifest")
        if "manifests" in manifest.fields:
            raise manifest.wrong("manifests", "makes it an index and a manifest at once")
        config = manifest.table("config").descriptor()
        if config.media_type not in mediatypes.CONFIGS:
            raise SourceError(f"'{self._written}' is no image but holds '{config.media_type}'")
        configuration = self._configuration(config)
        return OciImage(
            candidate.manifest.digest,
            candidate.platform or self._wanted,
            self._layers(manifest, configuration),
            configuration.config,
        )

    def _layers(self, manifest: Document, configuration: Configuration) -> tuple[Layer, ...]:
        entries = manifest.tables("layers")
        diff_ids = configuration.diff_ids
        if len(entries) != len(diff_ids):
            raise manifest.wrong("layers", f"are {len(entries)}, and its configuration has {len(diff_ids)}")
        blobs = [entry.descriptor() for entry in entries]
        for number, blob in enumerate(blobs, 1):
            self._check_layer(blob, layer_name(self._written, number, len(blobs)))
        return tuple(Layer(blob, diff_id) for blob, diff_id in zip(blobs, diff_ids, strict=True))

    def _check_layer(self, blob: Descriptor, written: str) -> None:
        if blob.media_type not in mediatypes.LAYERS:
            raise SourceError(f"'{written}' is of a kind that is not read here: '{blob.media_type}'")
        if mediatypes.is_foreign(blob.media_type) and not self._has(blob, written):
            raise SourceError(
                f"'{written}' is not there: registries may not pass it on ('{blob.media_type}')",
                hint=f"put it there as '{blob_name(blob.digest)}', or use an image without it",
            )
        check_present(self._layout, blob, written)

    def _has(self, blob: Descriptor, written: str) -> bool:
        return self._layout.size_of(blob_name(blob.digest), written) is not None

    def _configuration(self, blob: Descriptor) -> Configuration:
        return parse_configuration(self._document(blob, "configuration"))

    def _document(self, blob: Descriptor, what: str) -> Document:
        written = f"{self._written}: {what}"
        return parse_document(read_blob(self._layout, blob, written, limit_bytes=DOCUMENT_BYTES_MAX), written)


def read_document(layout: OciLayout, name: str, written: str) -> bytes:
    """Read a document that has no digest to verify; SourceError if it is too large."""
    with layout.open_file(name, written) as opened:
        data = opened.file.read(DOCUMENT_BYTES_MAX + 1)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise SourceError(f"'{written}' has more than {readable_size(DOCUMENT_BYTES_MAX)}")
    return data


def layer_name(written: str, number: int, count: int) -> str:
    """A layer's name in messages; `number` counts from 1, the lowest layer first."""
    return f"{written}: layer {number} of {count}"


def _tag_of(entry: Document) -> str | None:
    return entry.text_table("annotations").get(_TAG_KEY)
