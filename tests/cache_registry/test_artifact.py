"""Manifests and descriptions as documents, and what of others' is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bangerbuild.cache_registry.artifact import (
    CHUNK_BYTES,
    CHUNK_TYPE,
    DESCRIPTION_TYPE,
    BuiltFile,
    Chunk,
    Description,
    Manifest,
    chunks_of,
    parse_description,
    parse_manifest,
)
from bangerbuild.errors import SourceError

FILE = BuiltFile("rootfs.ext4", 2 * CHUNK_BYTES + 4096, "1" * 64)
DESCRIPTION = Description("image-rootfs", "f" * 32, (FILE,), {"source": "tree", "size_bytes": 5})
CHUNKS = tuple(
    Chunk("rootfs.ext4", number * CHUNK_BYTES, size, f"{number}" * 64, "a" * 64, 100)
    for number, size in enumerate((CHUNK_BYTES, CHUNK_BYTES, 4096))
)
MANIFEST = Manifest("b" * 64, 200, CHUNKS)


def changed(**fields: Any) -> bytes:  # noqa: ANN401  # JSON
    return json.dumps({**json.loads(MANIFEST.document()), **fields}).encode()


def layer(**fields: Any) -> bytes:  # noqa: ANN401  # JSON
    """The manifest with other fields of its first layer."""
    layers = json.loads(MANIFEST.document())["layers"]
    return changed(layers=[{**layers[0], **fields}, *layers[1:]])


def said(**annotations: str) -> bytes:
    """The same, with other annotations."""
    old = json.loads(MANIFEST.document())["layers"][0]["annotations"]
    return layer(annotations={**old, **{f"dev.bangerbuild.{key}": text for key, text in annotations.items()}})


def test_a_manifest_is_an_oci_image_whose_layers_say_where_they_belong() -> None:
    document = json.loads(MANIFEST.document())
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert document["config"] == {"mediaType": DESCRIPTION_TYPE, "digest": f"sha256:{'b' * 64}", "size": 200}
    assert document["layers"][2] == {
        "mediaType": CHUNK_TYPE,
        "digest": f"sha256:{'a' * 64}",
        "size": 100,
        "annotations": {
            "dev.bangerbuild.file": "rootfs.ext4",
            "dev.bangerbuild.offset": "8388608",
            "dev.bangerbuild.size": "4096",
            "dev.bangerbuild.digest": f"sha256:{'2' * 64}",
        },
    }


def test_documents_are_read_as_they_were_written() -> None:
    assert parse_manifest(MANIFEST.document(), "x") == MANIFEST
    assert parse_description(DESCRIPTION.document(), "x") == DESCRIPTION


def test_blobs_are_counted_once() -> None:
    assert MANIFEST.blobs == {"a" * 64: 100, "b" * 64: 200}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        MANIFEST.document()[:-20],
        changed(config={}),
        changed(config={"mediaType": DESCRIPTION_TYPE, "digest": f"sha256:{'b' * 64}", "size": 2 << 20}),
        changed(layers={}),
        changed(layers=json.loads(MANIFEST.document())["layers"] * 2),
        changed(config={"mediaType": "application/vnd.oci.image.config.v1+json"}),
        layer(mediaType="application/vnd.oci.image.layer.v1.tar"),
        layer(size=5 << 20),
        layer(size=-1),
        layer(digest=f"sha512:{'0' * 128}"),
        layer(annotations={}),
        layer(annotations=[]),
        said(offset="1"),
        said(offset="-4194304"),
        said(offset="²"),
        said(offset="9" * 5000),
        said(size="0"),
        said(size="4194305"),
        said(digest="sha256:0"),
    ],
)
def test_what_is_no_manifest_of_ours_is_refused(document: bytes) -> None:
    with pytest.raises(SourceError):
        parse_manifest(document, "docker://there")


def described(**fields: Any) -> bytes:  # noqa: ANN401  # JSON
    return json.dumps({**json.loads(DESCRIPTION.document()), **fields}).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        described(version=2),
        described(kind=1),
        described(facts=[]),
        DESCRIPTION.document().replace(b'"size_bytes":5', b'"size_bytes":NaN'),
        described(files=[{"name": "../rootfs.ext4", "size": 1, "digest": ""}]),
        described(files=[{"name": "..", "size": 1, "digest": ""}]),
        described(files=[{"name": "a", "size": -1, "digest": ""}]),
        described(files=[{"name": "a", "size": 1 << 60, "digest": ""}]),
        described(files=[{"name": "a", "size": True, "digest": ""}]),
    ],
)
def test_what_is_no_description_of_ours_is_refused(document: bytes) -> None:
    with pytest.raises(SourceError):
        parse_description(document, "docker://there")


@pytest.mark.parametrize(
    "chunk",
    [
        replace(CHUNKS[2], file="other"),
        replace(CHUNKS[2], offset=1 << 40),
        replace(CHUNKS[2], size_bytes=8192),
    ],
)
def test_a_chunk_beyond_its_file_is_refused(chunk: Chunk) -> None:
    assert chunks_of(DESCRIPTION, MANIFEST, "x") == {"rootfs.ext4": list(CHUNKS)}
    with pytest.raises(SourceError, match="lies beyond its end"):
        chunks_of(DESCRIPTION, replace(MANIFEST, chunks=(*CHUNKS[:2], chunk)), "x")
