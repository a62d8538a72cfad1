"""Blobs of a layout: nothing is used that is not what its digest says."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.formats.oci.making import (
    LAYER,
    MANIFEST,
    LayoutMaker,
    digest_of,
    layout_of,
    tarball,
)
from tests.formats.oci.reading import refusal, resolved
from tests.formats.tarmaking import member

if TYPE_CHECKING:
    from pathlib import Path


ONE, TWO = tarball(member(b"one")), tarball(member(b"two"))


def test_digests_may_be_sha512(maker: LayoutMaker) -> None:
    digest = hashlib.sha512(ONE).hexdigest()
    (maker.path / "blobs/sha512").mkdir()
    (maker.path / "blobs/sha512" / digest).write_bytes(ONE)
    blob = {"mediaType": LAYER, "digest": f"sha512:{digest}", "size": len(ONE)}
    maker.add(maker.manifest([blob], [f"sha512:{digest}"]))

    assert resolved(maker.path).layers[0].diff_id == f"sha512:{digest}"


def test_a_missing_blob_is_told_by_layer_and_digest_before_anything_is_built(maker: LayoutMaker) -> None:
    layers = [maker.blob(layer, LAYER) for layer in (ONE, TWO)]
    maker.add(maker.manifest(layers, [digest_of(ONE), digest_of(TWO)]))
    maker.at(digest_of(TWO)).unlink()

    error = refusal(maker.path)

    assert error.brief == (
        f"'oci:image: layer 2 of 2' is not there: the layout has no blob '{digest_of(TWO)}'"
    )
    assert "fetch or copy it again" in str(error.hint)


@pytest.mark.parametrize("what", ["manifest", "configuration"])
def test_a_document_whose_digest_lies_is_never_believed(tmp_path: Path, what: str) -> None:
    path = layout_of(tmp_path / "layout", ONE)
    mark = b"schemaVersion" if what == "manifest" else b"architecture"
    blob = next(blob for blob in (path / "blobs/sha256").iterdir() if mark in blob.read_bytes())
    blob.write_bytes(blob.read_bytes().replace(b"layers", b"layerz"))

    assert refusal(path).brief.startswith(
        f"'oci:image: {what}' is not what it must be: its digest is 'sha256:"
    )


def test_a_size_that_lies_is_noticed_without_reading(maker: LayoutMaker) -> None:
    layer = maker.blob(ONE, LAYER) | {"size": len(ONE) + 1}
    maker.add(maker.manifest([layer], [digest_of(ONE)]))

    assert f"it has {len(ONE)} bytes, not {len(ONE) + 1}" in refusal(maker.path).brief


def test_a_manifest_as_large_as_no_registry_takes_it_is_not_read(maker: LayoutMaker) -> None:
    maker.add(maker.blob(b"{" + b" " * (5 << 20) + b"}", MANIFEST))

    assert "has 5 MiB; 4 MiB is the most that is read" in refusal(maker.path).brief


def test_a_blob_that_is_no_file_is_refused_and_not_waited_for(maker: LayoutMaker) -> None:
    maker.add(maker.manifest([maker.blob(ONE, LAYER)], [digest_of(ONE)]))
    maker.at(digest_of(ONE)).unlink()
    os.mkfifo(maker.at(digest_of(ONE)))

    assert "'oci:image: layer 1 of 1' is no regular file" in refusal(maker.path).brief


def test_a_symlink_in_place_of_a_blob_is_followed_and_compared_like_any_other(
    maker: LayoutMaker, tmp_path: Path
) -> None:
    maker.add(maker.manifest([maker.blob(ONE, LAYER)], [digest_of(ONE)]))
    elsewhere = maker.at(digest_of(ONE)).rename(tmp_path / "elsewhere")
    maker.at(digest_of(ONE)).symlink_to(elsewhere)
    assert resolved(maker.path).layers

    elsewhere.write_bytes(b"something else")
    assert "is not what it must be" in refusal(maker.path).brief
