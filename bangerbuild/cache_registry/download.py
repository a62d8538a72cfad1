"""Bring an artifact out of a registry, and judge it before anybody takes it.

Blobs go to the user's cache; those that are there are not moved again. Then each chunk is compared with its
digest, each file as a whole with the description's, and filesystems are judged by e2fsck, as imported ones
are.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.cache_registry import chunks
from bangerbuild.cache_registry.artifact import (
    MOST_BLOB_BYTES,
    MOST_DESCRIPTION_BYTES,
    MOST_MANIFEST_BYTES,
    chunks_of,
    parse_description,
    sha256,
)
from bangerbuild.cache_registry.blobs import Blobs
from bangerbuild.cache_registry.lookup import why
from bangerbuild.disk import checking, clone
from bangerbuild.disk.formats import is_disk
from bangerbuild.errors import BangerError, SourceError, StoreError
from bangerbuild.fetch import layouts
from bangerbuild.formats.oci import skopeo
from bangerbuild.formats.oci.platforms import host_platform
from bangerbuild.formats.oci.reference import parse_reference
from bangerbuild.host import process
from bangerbuild.model.image_cache import Fetched
from bangerbuild.store import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from bangerbuild.cache_registry.artifact import BuiltFile, Chunk, Description, Manifest
    from bangerbuild.cache_registry.lookup import RegistryCache
    from bangerbuild.model import Progress
    from bangerbuild.model.image_cache import Offer

AT_ONCE = 3
LEAST_SECONDS, LEAST_BYTES_PER_SECOND = 60.0, 256 << 10
"""A registry that sends less is broken off: building may take less time."""
MODE = 0o444


class Order(NamedTuple):
    """An artifact that is to be brought."""

    offer: Offer
    names: frozenset[str]
    """Of its files."""


def fetch_all(
    orders: Sequence[Order],
    cache: RegistryCache,
    stage: Callable[[], Path],
    progress: Progress,
    blobs: Blobs | None = None,
) -> dict[str, Fetched]:
    """Bring artifacts here, several at once; by their references. What fails, the cache will not offer again.

    Args:
        orders: what is wanted.
        cache: what offered it.
        stage: gives private directories for the files, on the store's filesystem.
        progress: told how far it is, in any thread.
        blobs: the user's cache; None: where it is by default.
    """

    def one(order: Order) -> Fetched | None:
        try:
            place = Blobs() if blobs is None else blobs
            return fetch(
                order.offer, order.names, cache.manifests[order.offer.reference], place, stage(), progress
            )
        except BangerError as err:
            written = order.offer.written
            cache.refuse(order.offer, f"'{written}' {why(err, written)}: it is not taken")
            return None

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
        try:
            done = list(pool.map(one, orders))
        except BaseException:
            process.end_all()
            pool.shutdown(cancel_futures=True)
            raise
    return {order.offer.reference: found for order, found in zip(orders, done, strict=True) if found}


def fetch(  # noqa: PLR0913, PLR0917  # from where, what, and where to
    offer: Offer,
    names: Collection[str],
    manifest: Manifest,
    blobs: Blobs,
    directory: Path,
    progress: Progress,
) -> Fetched:
    """Bring an artifact here, and judge it.

    Args:
        offer: the artifact.
        names: of the files that it must have.
        manifest: what the registry has under the offer's reference.
        blobs: the user's cache.
        directory: a private one for the files.
        progress: told how far it is.

    Raises:
        SourceError, ToolError: the registry fails, or what it has is not what it says.
        FilesystemError: a filesystem in it has errors.
        StoreError, CacheError: there is no room for it.
    """
    try:
        _bring(offer, manifest, blobs, progress)
        description = _description(offer, manifest, blobs)
        if {file.name for file in description.files} != set(names):
            raise SourceError(f"'{offer.written}' has other files than it must have")
        try:
            files = _files(offer, description, manifest, blobs, directory)
        except chunks.DamagedChunkError as err:
            if not _is_lost(err.chunk, blobs):
                raise
            _bring(offer, manifest, blobs, progress)  # it was the cache's copy that was damaged
            files = _files(offer, description, manifest, blobs, directory)
    except chunks.DamagedChunkError as err:
        raise SourceError(f"'{offer.written}' is damaged: {err.brief}") from err
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        raise StoreError(f"'{err.filename or directory}': {reason}") from err
    digests = {file.name: file.digest for file in description.files}
    return Fetched(files, digests, description.facts)


def _is_lost(chunk: Chunk, blobs: Blobs) -> bool:
    """Whether the blob of a chunk was not what its name says, or was removed."""
    return blobs.drop_damaged(chunk.blob)


def _bring(offer: Offer, manifest: Manifest, blobs: Blobs, progress: Progress) -> None:
    """Have skopeo put what is missing into the cache."""
    wanted = manifest.blobs
    missing = blobs.missing(wanted)
    if not missing:
        return
    total_bytes = sum(wanted[digest] for digest in missing)
    reference = parse_reference(offer.reference)
    progress(offer.written, 0, total_bytes)
    with blobs.cache() as cache, layouts.directory(cache) as layout:
        command = skopeo.copy_to_layout(reference, layout, host_platform(), environ=os.environ)
        limited = replace(
            command,
            file_bytes=max(MOST_BLOB_BYTES, MOST_DESCRIPTION_BYTES, MOST_MANIFEST_BYTES),
            timeout_seconds=LEAST_SECONDS + total_bytes / LEAST_BYTES_PER_SECOND,
        )
        skopeo.run(limited, parse_reference(offer.written))
    progress(offer.written, total_bytes, total_bytes)


def _description(offer: Offer, manifest: Manifest, blobs: Blobs) -> Description:
    """What was built, which must be what was offered."""
    try:
        data = blobs.path(manifest.description).read_bytes()
    except FileNotFoundError as err:
        raise SourceError(f"'{offer.written}' is damaged: its description is missing") from err
    if sha256(data) != manifest.description:
        blobs.drop_damaged(manifest.description)
        raise SourceError(f"'{offer.written}' is damaged: its description has another digest")
    found = parse_description(data, offer.written)
    try:
        rows.check_facts(found.facts, "what is remembered of it")
    except rows.DamagedRowError as err:
        raise SourceError(f"'{offer.written}' is damaged: {err}") from err
    if (found.kind, found.fingerprint) != (offer.recipe.kind, offer.fingerprint):
        raise SourceError(f"'{offer.written}' is another image's: '{found.kind}' {found.fingerprint}")
    return found


def _files(
    offer: Offer, description: Description, manifest: Manifest, blobs: Blobs, directory: Path
) -> dict[str, Path]:
    """Put the files together."""
    parts = chunks_of(description, manifest, offer.written)
    return {
        file.name: _file(offer, file, parts[file.name], blobs, directory / file.name)
        for file in description.files
    }


def _file(offer: Offer, file: BuiltFile, parts: Sequence[Chunk], blobs: Blobs, path: Path) -> Path:
    with suppress(FileNotFoundError):
        path.unlink()
    chunks.join(path, file.size_bytes, parts, blobs.path)
    if clone.digest(path) != file.digest:
        raise SourceError(f"'{offer.written}' is damaged: '{file.name}' has another digest than it must have")
    path.chmod(MODE)
    if is_disk(file.name):
        _check(offer, path)
    return path


def _check(offer: Offer, path: Path) -> None:
    """Have e2fsck judge a filesystem: libext2fs trusts what it reads."""
    errors = checking.errors_in(path)
    if errors:
        raise SourceError(
            f"'{offer.written}' has errors in its filesystem: {errors[0]}", details="\n".join(errors)
        )
