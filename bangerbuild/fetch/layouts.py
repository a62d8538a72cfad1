"""OCI image layouts over the blobs of the user's cache, for skopeo to copy from and to."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import CacheError
from bangerbuild.fetch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.fetch.cache import Cache


@contextmanager
def directory(cache: Cache) -> Iterator[Path]:
    """A new layout whose blobs are the cache's; on its filesystem, as skopeo renames blobs into place.

    Raises:
        CacheError: the cache can't be written.
    """
    cache.prepare()
    with ExitStack() as stack:
        try:
            cache.layouts.mkdir(exist_ok=True)
            made = stack.enter_context(scratch.directory(cache.layouts))
            (made / "blobs").symlink_to("../../blobs")
        except OSError as err:
            raise CacheError(
                f"'{cache.layouts}' of the cache can't be written: {(err.strerror or str(err)).lower()}"
            ) from err
        yield made


def write_index(layout: Path, manifest: Mapping[str, str | int]) -> None:
    """Make an image the only one of a layout; `manifest` is its descriptor."""
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [dict(manifest)]}))
