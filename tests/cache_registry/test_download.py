"""Artifacts brought out of a registry that lies, breaks off or is damaged: nothing false is ever taken."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.cache_registry import download
from bangerbuild.cache_registry.artifact import BuiltFile, Manifest, sha256
from bangerbuild.cache_registry.blobs import Blobs
from bangerbuild.cache_registry.download import Order
from bangerbuild.cache_registry.lookup import RegistryCache
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.model import unseen
from tests.cache_registry.making import DATA_BYTES, FINGERPRINT, WANTED, Made, disk, made
from tests.disk.ext4_tools import assert_clean
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model.image_cache import Fetched
    from tests.cache_registry.lying import LyingRegistry

NAMES = frozenset({"rootfs.ext4"})


class Fetching:
    """The artifact is wanted of a registry."""

    def __init__(self, registry: LyingRegistry, place: Path, artifact: Made, *, trust: bool = False) -> None:
        repository = Repository.parse(f"docker://{registry.address}/team")
        self.cache = RegistryCache((repository,), trust, {} if trust else artifact.locked)
        self.place = place
        self.blobs = Blobs()
        self.written = str(repository.of("small", FINGERPRINT))

    def fetched(self, names: frozenset[str] = NAMES) -> Fetched | None:
        offer = self.cache.find(WANTED).offer
        assert offer is not None, list(self.cache.told())
        directory = self.place / "staging"
        directory.mkdir(exist_ok=True)
        orders = [Order(offer, names)]
        done = download.fetch_all(orders, self.cache, lambda: directory, unseen, self.blobs)
        return done.get(offer.reference)

    def refusal(self, names: frozenset[str] = NAMES) -> str:
        """What is said of it, once it was fetched and not taken."""
        assert self.fetched(names) is None
        assert self.cache.find(WANTED).offer is None, "it is offered again"
        ((_, warning),) = self.cache.told()
        assert warning.startswith(f"'{self.written}' "), warning
        assert warning.endswith(": it is not taken"), warning
        return warning


def test_what_is_fetched_is_the_same_file_and_is_not_fetched_again(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    lying.holds(FINGERPRINT, artifact.manifest, artifact.blobs)
    fetching = Fetching(lying, tmp_path, artifact)
    fetched = fetching.fetched()
    assert fetched is not None
    path = fetched.files["rootfs.ext4"]
    subprocess.run([need("cmp", "diffutils"), str(artifact.built.files[0]), str(path)], check=True)
    assert_clean(path)
    assert path.stat().st_blocks * 512 < DATA_BYTES + (4 << 20), "holes were written"
    assert path.stat().st_mode & 0o777 == 0o444
    assert fetched.facts == artifact.built.facts
    asked = [path for path in lying.asked if "/blobs/" in path]
    assert len(asked) == len(artifact.blobs)
    assert fetching.fetched() is not None
    assert [path for path in lying.asked if "/blobs/" in path] == asked, "blobs were moved again"


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    lying.holds(FINGERPRINT, artifact.manifest, artifact.blobs)
    fetching = Fetching(lying, tmp_path, artifact)
    assert fetching.fetched() is not None
    fetching.blobs.path(artifact.manifest.chunks[1].blob).write_bytes(b"damaged")
    assert fetching.fetched() is not None
    fetching.blobs.path(artifact.manifest.chunks[1].blob).unlink()
    assert fetching.fetched() is not None


def test_a_flipped_byte_is_refused(lying: LyingRegistry, artifact: Made, tmp_path: Path) -> None:
    blob = artifact.manifest.chunks[1].blob
    data = bytearray(artifact.blobs[blob])
    data[len(data) // 2] ^= 1
    lying.holds(FINGERPRINT, artifact.manifest, {**artifact.blobs, blob: bytes(data)})
    Fetching(lying, tmp_path, artifact).refusal()


def lie(
    artifact: Made, manifest: Manifest, more: dict[str, bytes] | None = None
) -> tuple[Manifest, dict[str, bytes]]:
    return manifest, {**artifact.blobs, **(more or {})}


def swapped(artifact: Made) -> Manifest:
    """Each chunk is what it says, and two of them lie in each other's place."""
    first, second, *rest = artifact.manifest.chunks
    places = replace(first, offset=second.offset), replace(second, offset=first.offset)
    assert first.size_bytes == second.size_bytes
    return replace(artifact.manifest, chunks=(*places, *rest))


def test_swapped_chunks_are_refused(lying: LyingRegistry, artifact: Made, tmp_path: Path) -> None:
    lying.holds(FINGERPRINT, swapped(artifact), artifact.blobs)
    assert "'rootfs.ext4' has another digest" in Fetching(lying, tmp_path, artifact).refusal()


def test_a_chunk_that_is_left_out_is_refused(lying: LyingRegistry, artifact: Made, tmp_path: Path) -> None:
    fewer = replace(artifact.manifest, chunks=artifact.manifest.chunks[:-1])
    lying.holds(FINGERPRINT, fewer, artifact.blobs)
    assert "'rootfs.ext4' has another digest" in Fetching(lying, tmp_path, artifact).refusal()


def with_chunk(artifact: Made, data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """The artifact with another blob for its first chunk, of which the manifest says what it has to say."""
    first, *rest = artifact.manifest.chunks
    other = replace(first, blob=sha256(data), blob_bytes=len(data))
    return replace(artifact.manifest, chunks=(other, *rest)), {**artifact.blobs, sha256(data): data}


def test_a_chunk_that_expands_without_end_is_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    command = [need("zstd"), "-19", "-c"]
    bomb = subprocess.run(command, input=bytes(256 << 20), check=True, capture_output=True).stdout
    lying.holds(FINGERPRINT, *with_chunk(artifact, bomb))
    assert "expands to more than 4194304 bytes" in Fetching(lying, tmp_path, artifact).refusal()


def test_a_chunk_that_is_none_is_refused(lying: LyingRegistry, artifact: Made, tmp_path: Path) -> None:
    lying.holds(FINGERPRINT, *with_chunk(artifact, b"no zstd at all"))
    assert "does not decompress" in Fetching(lying, tmp_path, artifact).refusal()


def test_a_blob_that_is_larger_than_it_says_is_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    blob = artifact.manifest.chunks[0].blob
    lying.holds(FINGERPRINT, artifact.manifest, {**artifact.blobs, blob: bytes(64 << 20)})
    Fetching(lying, tmp_path, artifact).refusal()
    drafts = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert drafts < 32 << 20


def test_an_image_under_another_s_tag_is_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    other = made(artifact.built.files[0], "e" * 32)
    lying.holds(FINGERPRINT, other.manifest, other.blobs)
    assert "is another image's" in Fetching(lying, tmp_path, artifact, trust=True).refusal()


def test_files_that_do_not_belong_to_it_are_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    lying.holds(FINGERPRINT, artifact.manifest, artifact.blobs)
    names = frozenset({"vmlinuz"})
    assert "has other files" in Fetching(lying, tmp_path, artifact).refusal(names)


def test_a_filesystem_with_errors_is_refused_even_of_a_trusted_cache(
    lying: LyingRegistry, tmp_path: Path
) -> None:
    path = disk(tmp_path / "rootfs.ext4")
    with path.open("r+b") as file:
        file.seek(1024 + 12)  # s_free_blocks_count_lo
        file.write(b"\x01\x00\x00\x00")
        file.seek(4096)
        file.write(bytes(64))  # of a group descriptor
    damaged = made(path)
    lying.holds(FINGERPRINT, damaged.manifest, damaged.blobs)
    assert "has errors in its filesystem" in Fetching(lying, tmp_path, damaged, trust=True).refusal()


def test_facts_that_no_record_can_hold_are_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    wrong = replace(artifact.description, facts={"size_bytes": "large"}).document()
    manifest = replace(artifact.manifest, description=sha256(wrong), description_bytes=len(wrong))
    lying.holds(FINGERPRINT, manifest, {**artifact.blobs, sha256(wrong): wrong})
    assert "'size_bytes' is no size" in Fetching(lying, tmp_path, artifact, trust=True).refusal()


def test_a_file_that_is_said_to_be_larger_is_refused(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    (file,) = artifact.description.files
    larger = BuiltFile(file.name, file.size_bytes + 4096, file.digest)
    wrong = replace(artifact.description, files=(larger,)).document()
    manifest = replace(artifact.manifest, description=sha256(wrong), description_bytes=len(wrong))
    lying.holds(FINGERPRINT, manifest, {**artifact.blobs, sha256(wrong): wrong})
    assert "has another digest" in Fetching(lying, tmp_path, artifact, trust=True).refusal()


def test_a_registry_that_dies_in_the_middle_is_named(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    lying.holds(FINGERPRINT, artifact.manifest, artifact.blobs)
    lying.breaks_off = True
    Fetching(lying, tmp_path, artifact).refusal()


def test_a_registry_that_has_lost_a_blob_is_named(
    lying: LyingRegistry, artifact: Made, tmp_path: Path
) -> None:
    blobs = dict(artifact.blobs)
    del blobs[artifact.manifest.chunks[0].blob]
    lying.holds(FINGERPRINT, artifact.manifest, blobs)
    Fetching(lying, tmp_path, artifact).refusal()


def test_the_description_is_json_that_jq_could_read(artifact: Made) -> None:
    document = json.loads(artifact.blobs[artifact.manifest.description])
    assert document["fingerprint"] == FINGERPRINT
    assert [file["name"] for file in document["files"]] == ["rootfs.ext4"]
