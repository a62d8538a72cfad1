"""Artifacts to be pushed and fetched, made in memory and on a disk that mke2fs made."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.cache_registry import chunks, upload
from bangerbuild.cache_registry.artifact import Description, Manifest, sha256
from bangerbuild.cache_registry.upload import Built
from bangerbuild.model import Recipe
from bangerbuild.model.fingerprint import fingerprint
from bangerbuild.model.image_cache import LockedImage, Wanted
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

ID = "image.small.rootfs"
TOOLS = {"bangerbuild image-rootfs": "2", "e2fsprogs": "1.47.0", "SOURCE_DATE_EPOCH": "946684800"}
RECIPE = Recipe("image-rootfs", {"text": "a"}, {}, {}, TOOLS)
FINGERPRINT = fingerprint(RECIPE)
WANTED = Wanted(ID, RECIPE, FINGERPRINT)
DISK_MIB, DATA_BYTES = 24, 9 << 20


def disk(path: Path, *, seed: int = 0, size_mib: int = DISK_MIB) -> Path:
    """A filesystem with a file that does not compress, at `path`."""
    tree = path.with_suffix(".tree")
    tree.mkdir()
    (tree / "data").write_bytes(random.Random(seed).randbytes(DATA_BYTES))  # noqa: S311  # no secret
    command = [need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-b", "4096", "-d", str(tree), str(path)]
    subprocess.run([*command, f"{size_mib}M"], check=True, capture_output=True)
    return path


@dataclass
class Made:
    """An artifact, and what a registry would hold of it."""

    built: Built
    description: Description
    manifest: Manifest
    blobs: dict[str, bytes]

    @property
    def locked(self) -> dict[str, dict[str, LockedImage]]:
        """What a lock file holds once it was pushed."""
        tools = {"e2fsprogs": self.tools["e2fsprogs"]}
        entry = LockedImage("rootfs", sha256(self.description.document()), "", tools)
        return {"small": {self.built.fingerprint: entry}}

    tools: dict[str, str]


def made(path: Path, digits: str = FINGERPRINT, tools: dict[str, str] | None = None) -> Made:
    """The artifact of a file."""
    built = Built("image-rootfs", digits, (path,), {"source": "tree", "size_bytes": path.stat().st_size})
    description = upload.describe(built)
    blobs: dict[str, bytes] = {}

    def keep(data: bytes) -> tuple[str, int]:
        blobs[sha256(data)] = data
        return sha256(data), len(data)

    described = keep(description.document())
    parts = chunks.cut(path, path.name, lambda _digest: None, keep)
    return Made(built, description, Manifest(*described, parts), blobs, tools or TOOLS)
