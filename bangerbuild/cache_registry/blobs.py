"""The blobs of artifacts in the user's cache: what was pushed or fetched before is not moved again.

Each is looked at alone, and none stays locked: an image may have more chunks than a process may have files
open. `gc` may remove one at any time; then it is missing, and is made or fetched again.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from bangerbuild.cache_registry.artifact import parse_manifest, sha256
from bangerbuild.errors import SourceError
from bangerbuild.fetch.cache import Cache, default_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bangerbuild.cache_registry.artifact import Manifest

_DIGEST = re.compile("[0-9a-f]{64}")


class Blobs:
    """The user's cache, as artifacts use it; threads may share it."""

    def __init__(self, path: Path | None = None) -> None:
        self.place = path or default_path(os.environ)

    def cache(self) -> Cache:
        """A cache of its own, which holds what it looked at until it is closed."""
        return Cache(self.place)

    def path(self, digest: str) -> Path:
        """Where a blob lies, if it is there."""
        return self.place / "blobs" / "sha256" / digest

    def missing(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of which there is nothing; the content of the others is not compared."""
        return frozenset(digest for digest in digests if not self.path(digest).is_file())

    def keep(self, data: bytes) -> tuple[str, int]:
        """Put a blob into the cache; its digest and size.

        Raises:
            CacheError, OSError: it can't be written.
        """
        digest = sha256(data)
        if self.missing((digest,)):
            with self.cache() as cache, cache.draft(digest) as draft:
                draft.discard()
                view = memoryview(data)
                while view:
                    view = view[draft.file.write(view) or 0 :]
                draft.publish(digest)
        return digest, len(data)

    def drop_damaged(self, digest: str) -> bool:
        """Remove a blob that is not what its name says; whether it was such.

        Raises:
            CacheError: it can't be read.
        """
        with self.cache() as cache:
            return cache.get(digest) is None

    def drop_all_damaged(self, digests: Iterable[str]) -> bool:
        """The same for several; whether any was such."""
        return bool([digest for digest in digests if self.drop_damaged(digest)])

    def note(self, repository: str, part: str, manifest: str) -> None:
        """Remember what was moved last of a part of an image: the next one is likely to be much like it."""
        path = self._note(repository, part)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(manifest)
            draft.rename(path)
        except OSError:  # what only saves work is no reason to fail
            return

    def last(self, repository: str, part: str) -> Manifest | None:
        """The manifest of `note`; None if there is none any more."""
        try:
            digest = self._note(repository, part).read_text(encoding="ascii")
            if not _DIGEST.fullmatch(digest):
                return None
            data = self.path(digest).read_bytes()
            return parse_manifest(data, digest) if sha256(data) == digest else None
        except (OSError, ValueError, SourceError):
            return None

    def _note(self, repository: str, part: str) -> Path:
        return self.place / "artifacts" / sha256(f"{repository} {part}".encode())
