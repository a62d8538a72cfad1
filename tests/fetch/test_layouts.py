"""Layouts over the cache's blobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import CacheError
from bangerbuild.fetch import layouts
from bangerbuild.fetch.cache import Cache

if TYPE_CHECKING:
    from pathlib import Path


def test_a_layout_s_blobs_are_the_cache_s_and_it_is_gone_in_the_end(tmp_path: Path) -> None:
    with Cache(tmp_path / "cache") as cache, layouts.directory(cache) as layout:
        (layout / "blobs/sha256/abc").write_text("blob")
        assert (cache.blobs / "abc").read_text() == "blob"
        layouts.write_index(layout, {"mediaType": "x", "digest": "sha256:abc", "size": 4})
        assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
        (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
        assert manifest == {"mediaType": "x", "digest": "sha256:abc", "size": 4}
    assert not layout.exists()
    assert (tmp_path / "cache/blobs/sha256/abc").exists()


def test_a_cache_that_can_t_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no directory")
    with (
        Cache(tmp_path / "cache") as cache,
        pytest.raises(CacheError, match=str(tmp_path)),
        layouts.directory(cache),
    ):
        pass
