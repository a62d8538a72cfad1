"""Container images in registries: which manifest a name stands for, and a layout of blobs that are kept.

A registry is asked by skopeo. Manifest, configuration and layers lie in the user's cache under their own
digests, so that images share layers and what is there is never sent again. Each is compared with the pin, or
with what the pinned manifest says of it: skopeo rewrites manifests of Docker's kind for a layout, and so ours
is written here, over the manifest that the registry has.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.errors import OfflineError, SourceError, readable_size
from bangerbuild.fetch import layouts
from bangerbuild.formats.oci import mediatypes, skopeo
from bangerbuild.formats.oci.config import platform_of
from bangerbuild.formats.oci.digests import SHA256, pin_digest
from bangerbuild.formats.oci.documents import parse_document
from bangerbuild.formats.oci.layout import DOCUMENT_BYTES_MAX
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.model import Pin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache
    from bangerbuild.formats.oci.blobs import Descriptor
    from bangerbuild.formats.oci.platforms import Platform
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.host.process import Command
    from bangerbuild.sources.source import FetchContext

DEFAULT_MOST_BYTES = 64 << 30
LEAST_SECONDS, LEAST_BYTES_PER_SECOND = 600, 32 << 10
"""A registry that sends less is broken off."""


def ask(reference: Reference, platform: Platform, context: FetchContext) -> Pin:
    """What a registry has under a name today, for a platform.

    Raises:
        SourceError: the registry gives no answer, or has no such image for that platform.
        OfflineError: it may not be asked.
    """
    if context.offline:
        raise OfflineError(
            f"nobody knows which image '{reference}' is, and the network is not used",
            hint="run it once without --offline; `bangerbuild lock` keeps the answer",
        )
    completed = skopeo.run(skopeo.inspect_digest(reference, environ=os.environ), reference)
    digest = skopeo.digest_in(completed.output, reference, platform)
    pin = Pin(pin_digest(digest, str(reference)), str(platform))
    if pin.digest == hashlib.sha256(skopeo.document_in(completed.output)).hexdigest():
        _check_platform(reference, reference.pinned(digest), platform)
    return pin


def _check_platform(reference: Reference, exact: Reference, wanted: Platform) -> None:
    """Whether the only image under a name is one for this platform; its configuration may not say."""
    completed = skopeo.run(skopeo.inspect_configuration(exact, environ=os.environ), reference)
    own = platform_of(parse_document(skopeo.document_in(completed.output), str(reference)))
    if own is not None and own.rank(wanted) is None:
        raise SourceError(
            f"'{reference}' has no image for '{wanted}'",
            hint=f"it has '{own}' alone; say which with `platform`",
        )


@contextmanager
def layout(
    reference: Reference, pin: Pin, cache: Cache, context: FetchContext, most_bytes: int | None = None
) -> Iterator[Path]:
    """A layout with the pinned image as its only one, for as long as it is open.

    `most_bytes` is what all layers together may have; None: 64 GiB.

    Raises:
        SourceError: it can't be had, or is not what it is pinned to.
        OfflineError: something of it is not in the cache.
        CacheError: the cache can't be read or written.
    """
    with layouts.directory(cache) as directory:
        bringing = _Bringing(reference.pinned(SHA256 + pin.digest), pin, cache, context, directory)
        bringing.most_bytes = most_bytes or DEFAULT_MOST_BYTES
        bringing.bring()
        yield directory


class _Bringing:
    def __init__(
        self, reference: Reference, pin: Pin, cache: Cache, context: FetchContext, directory: Path
    ) -> None:
        self._reference = reference
        self._pin = pin
        self._cache = cache
        self._context = context
        self._directory = directory
        self.most_bytes = DEFAULT_MOST_BYTES

    def bring(self) -> None:
        """Put those of the image's blobs into the cache that are not there, and an index over them."""
        manifest = self._document(self._pin.digest, skopeo.inspect_digest)
        document = parse_document(manifest, str(self._reference))
        layers = [entry.descriptor() for entry in document.tables("layers")]
        self._check_size(layers)
        missing = [blob for blob in layers if self._held(blob) is None]
        if missing:
            self._copy(missing)
        config = document.table("config").descriptor()
        self._document(pin_digest(config.digest, str(self._reference)), skopeo.inspect_configuration)
        kind = document.text("mediaType", mediatypes.OCI_MANIFEST)
        layouts.write_index(
            self._directory, {"mediaType": kind, "digest": SHA256 + self._pin.digest, "size": len(manifest)}
        )

    def _held(self, blob: Descriptor) -> Blob | None:
        return self._cache.get(pin_digest(blob.digest, str(self._reference)))

    def _document(self, digest: str, command: Callable[..., Command]) -> bytes:
        """The manifest or configuration of this digest, from the cache, else from the registry."""
        if blob := self._cache.get(digest):
            return blob.path.read_bytes()
        self._refuse_if_offline()
        completed = skopeo.run(command(self._reference, environ=os.environ), self._reference)
        content = skopeo.document_in(completed.output)
        if hashlib.sha256(content).hexdigest() != digest:
            raise SourceError(f"'{self._reference}' is not what it is pinned to: its registry sends another")
        with self._cache.draft(digest) as draft:
            draft.discard()
            draft.file.write(content)
            draft.publish(digest)
        return content

    def _copy(self, missing: Sequence[Descriptor]) -> None:
        """Have skopeo put missing layers into the cache; which still are is told when the layout is read."""
        self._refuse_if_offline()
        total_bytes = sum(blob.size_bytes for blob in missing)
        self._context.progress(str(self._reference), 0, total_bytes)
        platform = parse_platform(self._pin.platform) if self._pin.platform else host_platform()
        command = skopeo.copy_to_layout(self._reference, self._directory, platform, environ=os.environ)
        largest = max(blob.size_bytes for blob in missing)
        within = replace(
            command,
            file_bytes=largest + DOCUMENT_BYTES_MAX,
            timeout_seconds=LEAST_SECONDS + total_bytes / LEAST_BYTES_PER_SECOND,
        )
        skopeo.run(within, self._reference)
        for blob in missing:
            self._held(blob)
        self._context.progress(str(self._reference), total_bytes, total_bytes)

    def _check_size(self, layers: Sequence[Descriptor]) -> None:
        if sum(blob.size_bytes for blob in layers) > self.most_bytes:
            raise SourceError(
                f"'{self._reference}' has layers of more than {readable_size(self.most_bytes)}",
                hint="if it is meant to be so large, say with `max_size` how large it may be",
            )

    def _refuse_if_offline(self) -> None:
        if self._context.offline:
            raise OfflineError(
                f"'{self._reference}' is not in the cache, and --offline lets nothing be fetched",
                hint="run it once without --offline",
            )
