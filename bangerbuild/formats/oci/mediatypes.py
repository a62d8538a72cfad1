"""Media types of the parts of an image: those of OCI (media-types.md) and their Docker equivalents."""

from __future__ import annotations

INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MANIFESTS = frozenset(
    {
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
OLD_MANIFESTS = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        DOCKER_CONFIG,
    }
)
_TARBALLS = {
    "application/vnd.oci.image.layer.v1.tar": "+",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "+",
    DOCKER_LAYER: ".",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": ".",
}
LAYERS = frozenset(
    f"{tarball}{end}" for tarball, mark in _TARBALLS.items() for end in ("", f"{mark}gzip", f"{mark}zstd")
)
"""The compression is recognised by content, because some images state a wrong one."""


def is_foreign(layer: str) -> bool:
    """Whether registries may not distribute layers of this type."""
    return ".nondistributable." in layer or ".foreign." in layer
