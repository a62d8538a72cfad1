"""Container images out of a real registry: asked, brought, kept, and compared with their pins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import OfflineError, SourceError
from bangerbuild.fetch.cache import Cache
from bangerbuild.formats.oci.blobs import blob_name
from bangerbuild.formats.oci.digests import pin_digest
from bangerbuild.formats.oci.layout import OciImage, resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import Platform
from bangerbuild.formats.oci.reference import Reference, parse_reference
from bangerbuild.model import Pin
from bangerbuild.sources import container_registry
from tests.formats.oci.making import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    LayoutMaker,
    digest_of,
    layout_of,
    tarball,
    whiteout,
)
from tests.formats.tarmaking import member
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
LOWER = tarball(member(b"a", b"one" * 1000), member(b"b", b"two"))
UPPER = tarball(whiteout(b"a"), member(b"c", b"three"))


@dataclass
class FakeMeans:
    """Remembers the progress it was told."""

    offline: bool = False
    epoch: int = 946_684_800
    told: list[tuple[str, int, int | None]] = field(default_factory=list)

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self.told.append((what, done_bytes, total_bytes))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with an image in OCI's form, in Docker's, and one for two platforms."""
    layout = layout_of(tmp_path_factory.mktemp("image") / "layout", LOWER, UPPER, tag="v1")
    maker = LayoutMaker(tmp_path_factory.mktemp("index") / "layout")
    manifests = [
        maker.image(layer, architecture=name, platform={"os": "linux", "architecture": name})
        for name, layer in (("amd64", LOWER), ("arm64", UPPER))
    ]
    fields = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    maker.add(maker.document(fields, INDEX), "v1")
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        running.push(f"oci:{layout}:v1", "app:oci")
        running.push(f"oci:{layout}:v1", "app:docker", "--format=v2s2")
        running.push(f"oci:{maker.path}:v1", "app:both", "--all")
        yield running


@pytest.fixture(autouse=True)
def users_way_to_it(server: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as cache:
        yield cache


def asked(server: Registry, tag: str, platform: Platform = AMD64) -> tuple[Reference, Pin]:
    reference = parse_reference(server.name(f"app:{tag}"))
    return reference, container_registry.ask(reference, platform, FakeMeans())


def brought(reference: Reference, pin: Pin, cache: Cache, means: FakeMeans | None = None) -> OciImage:
    """The image in the layout that is made; all its layers are there."""
    with container_registry.layout(reference, pin, cache, means or FakeMeans()) as layout:
        image = resolve(
            DirectoryLayout(layout), None, AMD64 if pin.platform == "linux/amd64" else ARM64, written="it"
        )
        assert all((layout / blob_name(layer.blob.digest)).is_file() for layer in image.layers)
        return image


@pytest.mark.parametrize("tag", ["oci", "docker"])
def test_an_image_comes_with_the_digest_that_it_was_pinned_to_whatever_its_form(
    server: Registry, cache: Cache, tag: str
) -> None:
    reference, pin = asked(server, tag)
    image = brought(reference, pin, cache)
    assert (image.digest, len(image.layers)) == (f"sha256:{pin.digest}", 2)
    assert pin.platform == "linux/amd64"


@pytest.mark.parametrize("tag", ["oci", "docker"])
def test_what_is_in_the_cache_needs_no_network(server: Registry, cache: Cache, tag: str) -> None:
    reference, pin = asked(server, tag)
    first = brought(reference, pin, cache)
    assert brought(reference, pin, cache, FakeMeans(offline=True)) == first


def test_images_share_the_layers_in_the_cache(server: Registry, cache: Cache) -> None:
    brought(*asked(server, "oci"), cache)
    before = {path.name for path in cache.blobs.iterdir()}
    means = FakeMeans()
    image = brought(*asked(server, "docker"), cache, means)
    assert {layer.blob.digest.removeprefix("sha256:") for layer in image.layers} <= before
    assert means.told == []


def test_only_what_is_missing_is_fetched_and_told(server: Registry, cache: Cache) -> None:
    reference, pin = asked(server, "oci")
    image = brought(reference, pin, cache)
    last = image.layers[1].blob
    cache.close()
    (cache.blobs / last.digest.removeprefix("sha256:")).unlink()
    means = FakeMeans()
    assert brought(reference, pin, cache, means) == image
    name = str(reference.pinned(image.digest))
    assert means.told == [(name, 0, last.size_bytes), (name, last.size_bytes, last.size_bytes)]


def test_a_damaged_blob_of_the_cache_is_fetched_again(server: Registry, cache: Cache) -> None:
    reference, pin = asked(server, "oci")
    image = brought(reference, pin, cache)
    cache.close()
    for path in cache.blobs.iterdir():
        path.write_bytes(b"damaged")
    assert brought(reference, pin, cache) == image


@pytest.mark.parametrize("gone", ["manifest", "configuration", "layer"])
def test_offline_an_image_of_which_something_is_missing_is_refused_by_name(
    server: Registry, cache: Cache, gone: str
) -> None:
    reference, pin = asked(server, "docker")
    image = brought(reference, pin, cache)
    manifest = json.loads((cache.blobs / pin.digest).read_text())
    digests = {
        "manifest": image.digest,
        "configuration": manifest["config"]["digest"],
        "layer": image.layers[0].blob.digest,
    }
    cache.close()
    (cache.blobs / digests[gone].removeprefix("sha256:")).unlink()
    with pytest.raises(
        OfflineError, match="is not in the cache, and --offline lets nothing be fetched"
    ) as caught:
        brought(reference, pin, cache, FakeMeans(offline=True))
    assert str(reference.pinned(image.digest)) in caught.value.brief


def test_offline_no_registry_is_asked() -> None:
    reference = parse_reference("docker://127.0.0.1:9/app:1")
    with pytest.raises(OfflineError, match="the network is not used") as caught:
        container_registry.ask(reference, AMD64, FakeMeans(offline=True))
    assert caught.value.hint == "run it once without --offline; `bangerbuild lock` keeps the answer"


def test_of_two_platforms_each_has_its_own_pin(server: Registry, cache: Cache) -> None:
    pins = [asked(server, "both", platform) for platform in (AMD64, ARM64)]
    assert [pin.platform for _, pin in pins] == ["linux/amd64", "linux/arm64"]
    first, second = (brought(reference, pin, cache) for reference, pin in pins)
    assert first.layers != second.layers


@pytest.mark.parametrize("tag", ["oci", "docker"])
def test_an_only_image_for_another_platform_is_refused_when_it_is_asked_for(
    server: Registry, tag: str
) -> None:
    with pytest.raises(SourceError, match="has no image for 'linux/arm64'") as caught:
        asked(server, tag, ARM64)
    assert caught.value.hint == "it has 'linux/amd64' alone; say which with `platform`"


def test_an_image_that_does_not_say_its_platform_is_taken(server: Registry, tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    config = {"rootfs": {"type": "layers", "diff_ids": [digest_of(LOWER)]}}
    fields = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": maker.document(config, CONFIG),
        "layers": [maker.blob(LOWER, LAYER)],
    }
    maker.add(maker.document(fields, MANIFEST), "v1")
    server.push(f"oci:{maker.path}:v1", "app:silent")
    assert asked(server, "silent", ARM64)[1].platform == "linux/arm64"


def test_a_digest_that_the_registry_does_not_have_is_told(server: Registry, cache: Cache) -> None:
    reference, _ = asked(server, "oci")
    with pytest.raises(SourceError, match="is not there: its registry knows no such name, tag or digest"):
        brought(reference, Pin("0" * 64, "linux/amd64"), cache)


def test_no_directory_is_left_behind(server: Registry, cache: Cache) -> None:
    brought(*asked(server, "oci"), cache)
    assert list((cache.path / "layouts").iterdir()) == []


def test_what_a_killed_run_left_is_removed_by_the_next(server: Registry, cache: Cache) -> None:
    directory = cache.path / "layouts/left"
    directory.mkdir(parents=True)
    (directory / "oci-put-blob1").touch()
    brought(*asked(server, "oci"), cache)
    assert list((cache.path / "layouts").iterdir()) == []


def test_a_digest_of_another_kind_is_refused() -> None:
    with pytest.raises(SourceError, match="only sha256 is pinned"):
        pin_digest("sha512:" + "0" * 128, "x")
