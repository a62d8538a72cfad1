"""Artifacts pushed into Debian's docker-registry, and into registries that take nothing."""

from __future__ import annotations

import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cache_registry import upload
from bangerbuild.cache_registry.artifact import parse_manifest, sha256
from bangerbuild.cache_registry.blobs import Blobs
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.errors import SourceError, StoreError
from tests.cache_registry.lying import IS_FULL
from tests.cache_registry.making import FINGERPRINT, Made, disk, made
from tests.need import need
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.cache_registry.upload import Pushed
    from tests.cache_registry.lying import LyingRegistry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def user(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows the way to the registry, and has an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in registry.environ.items():
        monkeypatch.setenv(name, value)


def push(address: str, one: Made, team: str, blobs: Blobs | None = None) -> Pushed:
    tag = Repository.parse(f"docker://{address}/{team}").of("small", one.built.fingerprint)
    return upload.push(one.built, one.description, tag, "rootfs", blobs or Blobs())


def stored(registry: Registry) -> dict[str, int]:
    """The registry's blobs, by the files that it keeps them in: digests and sizes."""
    files = registry.place.glob("storage/docker/registry/v2/blobs/sha256/*/*/data")
    return {path.parent.name: path.stat().st_size for path in files}


def test_what_is_pushed_is_what_others_read_there(registry: Registry, artifact: Made) -> None:
    pushed = push(registry.address, artifact, "one")
    assert (pushed.digest, pushed.was_there) == (artifact.manifest.description, False)
    there = stored(registry)
    assert artifact.blobs.keys() <= there.keys()
    manifest = sha256(artifact.manifest.document())
    assert manifest in there, "the manifest is another one there"
    again = push(registry.address, artifact, "one")
    assert (again.digest, again.was_there) == (pushed.digest, True)
    assert stored(registry) == there


def test_an_edit_of_one_file_moves_little_and_compresses_little(
    registry: Registry, artifact: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = disk(tmp_path / "rootfs.ext4", seed=3, size_mib=320)
    push(registry.address, made(small), "edit")
    before = stored(registry)
    (tmp_path / "edited").write_bytes(random.Random(1).randbytes(64))  # noqa: S311  # no secret
    command = [need("debugfs", "e2fsprogs"), "-w", "-R", f"write {tmp_path / 'edited'} edited", str(small)]
    subprocess.run(command, check=True, capture_output=True)
    compressed: list[int] = []
    keep = Blobs.keep

    def kept(self: Blobs, data: bytes) -> tuple[str, int]:
        compressed.append(len(data))
        return keep(self, data)

    monkeypatch.setattr(Blobs, "keep", kept)
    edited = made(small, "e" * 32)
    push(registry.address, edited, "edit")
    new = {digest: size for digest, size in stored(registry).items() if digest not in before}
    chunks = [digest for digest in new if digest in {one.blob for one in edited.manifest.chunks}]
    assert 1 <= len(chunks) < len(edited.manifest.chunks)
    assert sum(new.values()) < 0.05 * small.stat().st_size
    assert len(compressed) == len(chunks) + 2, "the description and the manifest are kept too"


def test_two_who_push_the_same_at_once_both_have_pushed_it(registry: Registry, tmp_path: Path) -> None:
    one = made(disk(tmp_path / "rootfs.ext4", seed=5))
    caches = [Blobs(tmp_path / name) for name in ("first", "second")]
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda blobs: push(registry.address, one, "both", blobs), caches)
    assert first.digest == second.digest == one.manifest.description
    tags = registry.place / "storage/docker/registry/v2/repositories/both/small/_manifests/tags"
    link = tags / FINGERPRINT / "current/link"
    assert link.read_text() == f"sha256:{sha256(one.manifest.document())}"
    missing = one.blobs.keys() - stored(registry).keys()
    assert missing == set()


def test_a_damaged_copy_in_the_cache_is_made_again(registry: Registry, tmp_path: Path) -> None:
    one = made(disk(tmp_path / "rootfs.ext4", seed=7))
    blobs = Blobs()
    for data in one.blobs.values():
        blobs.keep(data)
    blobs.note(f"{registry.address}/damaged/small", "rootfs", blobs.keep(one.manifest.document())[0])
    blobs.path(one.manifest.chunks[0].blob).write_bytes(b"damaged")
    push(registry.address, one, "damaged", blobs)
    assert one.blobs.keys() <= stored(registry).keys()


@pytest.mark.parametrize(
    ("code", "why"),
    [(405, "its registry takes nothing"), (IS_FULL, "there is no space left"), (403, "log in")],
)
def test_a_registry_that_takes_nothing_is_named(
    lying: LyingRegistry, artifact: Made, code: int, why: str
) -> None:
    lying.refuses_with = code
    with pytest.raises(SourceError) as caught:
        push(lying.address, artifact, "team")
    assert f"docker://{lying.address}/team/small:{FINGERPRINT}" in caught.value.brief
    assert why in caught.value.brief


def test_a_tag_that_holds_something_else_is_replaced(
    registry: Registry, artifact: Made, tmp_path: Path
) -> None:
    other = made(disk(tmp_path / "rootfs.ext4", seed=9))
    push(registry.address, other, "moved")
    assert not push(registry.address, artifact, "moved").was_there
    tag = Repository.parse(f"docker://{registry.address}/moved").of("small", FINGERPRINT)
    there = upload.present(tag)
    assert there == artifact.manifest
    nothing = upload.present(Repository.parse(f"docker://{registry.address}/nobody").of("small", FINGERPRINT))
    assert nothing is None


def test_a_file_that_is_gone_is_an_error_that_names_it(artifact: Made) -> None:
    gone = upload.Built("image-rootfs", FINGERPRINT, (Path("/nowhere/rootfs.ext4"),), {})
    with pytest.raises(StoreError, match="/nowhere/rootfs"):
        upload.describe(gone)


def test_the_manifest_holds_no_time_and_no_host(artifact: Made) -> None:
    document = json.loads(artifact.manifest.document())
    assert document.keys() == {"schemaVersion", "mediaType", "config", "layers"}
    assert parse_manifest(artifact.manifest.document(), "x") == artifact.manifest
