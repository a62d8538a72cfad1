"""Image layouts for tests, put together blob by blob, so that any of it can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.formats.tarmaking import END, header, member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Compress = Callable[[bytes], bytes]

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
TAG = "org.opencontainers.image.ref.name"


def digest_of(data: bytes) -> str:
    """As descriptors have it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tarball(*members: bytes) -> bytes:
    """A layer's tarball of these members, with its end mark."""
    return b"".join(members) + END


def directory(name: bytes, **fields: object) -> bytes:
    """The member of a directory."""
    return header(name, kind=b"5", **{"mode": 0o755, **fields})  # type: ignore[arg-type] # passed through


def symlink(name: bytes, text: bytes) -> bytes:
    """The member of a symlink."""
    return header(name, kind=b"2", link=text, mode=0o777)


def hard_link(name: bytes, target: bytes) -> bytes:
    """The member of a hard link."""
    return header(name, kind=b"1", link=target)


def whiteout(path: bytes) -> bytes:
    """The member that marks a path as removed."""
    above, slash, name = path.rpartition(b"/")
    return member(above + slash + b".wh." + name)


def opaque(path: bytes) -> bytes:
    """The member that marks all that lower layers have in a directory as removed."""
    return member(path + b"/.wh..wh..opq")


@dataclass
class LayoutMaker:
    """A layout that grows blob by blob; `write_index` last."""

    path: Path
    entries: list[dict[str, Any]] = field(default_factory=list)
    """Of `index.json`."""

    def __post_init__(self) -> None:
        (self.path / "blobs/sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str, **more: object) -> dict[str, Any]:
        """Writes a blob; its descriptor."""
        digest = digest_of(data)
        self.at(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def at(self, digest: str) -> Path:
        """Where a blob lies."""
        return self.path / "blobs/sha256" / digest.removeprefix("sha256:")

    def document(self, fields: object, media_type: str, **more: object) -> dict[str, Any]:
        """Writes a JSON blob; its descriptor."""
        return self.blob(json.dumps(fields).encode(), media_type, **more)

    def image(
        self,
        *layers: bytes,
        compress: Compress = gzip.compress,
        config: dict[str, Any] | None = None,
        architecture: str = "amd64",
        **more: object,
    ) -> dict[str, Any]:
        """Writes an image of these tarballs, whole and right; the descriptor of its manifest."""
        blobs = [self.blob(compress(layer), f"{LAYER}+gzip") for layer in layers]
        return self.manifest(blobs, [digest_of(layer) for layer in layers], config, architecture, **more)

    def manifest(
        self,
        layers: Sequence[dict[str, Any]],
        diff_ids: Sequence[str],
        config: dict[str, Any] | None = None,
        architecture: str = "amd64",
        **more: object,
    ) -> dict[str, Any]:
        """Writes configuration and manifest; the descriptor of the manifest."""
        rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
        fields = {"os": "linux", "architecture": architecture, "rootfs": rootfs, "config": config or {}}
        described = self.document(fields, CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": list(layers)}
        return self.document(manifest, MANIFEST, **more)

    def add(self, descriptor: dict[str, Any], tag: str | None = None) -> LayoutMaker:
        """Names a manifest or index in `index.json`, and writes that."""
        annotations = {"annotations": {TAG: tag}} if tag else {}
        self.entries.append(descriptor | annotations)
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.entries}))
        return self


def layout_of(path: Path, *layers: bytes, tag: str | None = None, compress: Compress = gzip.compress) -> Path:
    """A layout with one image of these tarballs."""
    maker = LayoutMaker(path)
    return maker.add(maker.image(*layers, compress=compress), tag).path
