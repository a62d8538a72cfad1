"""The blobs of artifacts in the user's cache, which anybody may have damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.cache_registry.artifact import Manifest, sha256
from bangerbuild.cache_registry.blobs import Blobs

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = Manifest("b" * 64, 200, ())


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cache")


def test_a_blob_is_kept_under_its_digest(blobs: Blobs) -> None:
    digest, size_bytes = blobs.keep(b"content")
    assert (digest, size_bytes) == (sha256(b"content"), 7)
    assert blobs.path(digest).read_bytes() == b"content"
    assert blobs.missing((digest, "0" * 64)) == {"0" * 64}
    assert blobs.keep(b"content") == (digest, 7)


def test_a_damaged_blob_is_dropped_and_a_sound_one_stays(blobs: Blobs) -> None:
    sound, _ = blobs.keep(b"sound")
    damaged, _ = blobs.keep(b"damaged")
    blobs.path(damaged).write_bytes(b"other")
    assert blobs.drop_all_damaged((sound, damaged))
    assert blobs.missing((sound, damaged)) == {damaged}
    assert not blobs.drop_all_damaged((sound,))


def test_what_was_moved_last_is_remembered_for_each_part_of_an_image(blobs: Blobs) -> None:
    digest, _ = blobs.keep(MANIFEST.document())
    blobs.note("registry/team/small", "rootfs", digest)
    assert blobs.last("registry/team/small", "rootfs") == MANIFEST
    assert blobs.last("registry/team/small", "kernel") is None
    assert blobs.last("registry/team/other", "rootfs") is None


def test_what_is_remembered_is_forgotten_where_it_is_damaged(blobs: Blobs) -> None:
    digest, _ = blobs.keep(MANIFEST.document())
    blobs.note("registry/team/small", "rootfs", digest)
    blobs.path(digest).write_bytes(b"{}")
    assert blobs.last("registry/team/small", "rootfs") is None
    blobs.note("registry/team/small", "rootfs", "../../../etc/passwd")
    assert blobs.last("registry/team/small", "rootfs") is None
