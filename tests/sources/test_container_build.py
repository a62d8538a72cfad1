"""What is built lies in the cache, and is found by what it was built from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest

from bangerbuild.errors import OfflineError
from bangerbuild.fetch import image_builders
from bangerbuild.formats.dockerfile import Base
from bangerbuild.formats.oci.platforms import host_platform
from bangerbuild.sources import container_build
from tests.formats.oci.archives import image_members, packed_files
from tests.sources.building import Context, declared

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.fetch.image_builders import Build, Builder
    from bangerbuild.sources.dockerfile import DockerfileSource

LAYER = bytes(1024)


class Stage:
    """A stand-in for all builders: what it was given, and an archive of one image."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], str]] = []

    def build(self, _builder: Builder, build: Build) -> None:
        context = build.place / "context"
        names = sorted(str(path.relative_to(context)) for path in context.rglob("*"))
        self.seen.append((names, (build.place / "Dockerfile").read_text()))
        packed_files(build.archive, image_members(build.place / "layout", LAYER))


@pytest.fixture
def stage(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    assert not cache.exists()
    stage = Stage()
    monkeypatch.setattr(image_builders, "build", stage.build)
    monkeypatch.setattr(image_builders, "chosen", lambda _name: image_builders.BUILDERS["docker"])
    monkeypatch.setattr(image_builders.Docker, "transport", "oci-archive")
    (tmp_path / "app/a").mkdir(parents=True)
    (tmp_path / "app/a/file").write_text("file")
    (tmp_path / "app/a/again").hardlink_to(tmp_path / "app/a/file")
    (tmp_path / "app/store/images").mkdir(parents=True)
    (tmp_path / "app/link").symlink_to("a/file")
    (tmp_path / "app/Dockerfile").write_text("FROM base:1\nCOPY . /\n")
    (tmp_path / "app/.dockerignore").write_text("Dockerfile\n.dockerignore\n")
    return stage


def opened(directory: Path, *, digest: str = "a" * 64, offline: bool = False, more: str = "") -> str:
    """The digest of what is built."""
    base, platform = Base("docker.io/library/base:1"), str(host_platform())
    context = Context(directory, offline=offline, artifacts={"": directory / "app/store"})
    found = cast("DockerfileSource", declared(directory, f'rootfs = {{ dockerfile = "app"{more} }}').rootfs)
    with container_build.opened(found, {base: digest}, platform, context) as (_, image):
        return image.digest


def test_a_builder_gets_the_context_and_the_file_with_its_images_by_their_digests(
    tmp_path: Path, stage: Stage
) -> None:
    opened(tmp_path)
    text = f"FROM docker.io/library/base@sha256:{'a' * 64}\nCOPY . /\n"
    assert stage.seen == [(["a", "a/again", "a/file", "link"], text)]


def test_the_same_is_not_built_again_and_anything_else_is(tmp_path: Path, stage: Stage) -> None:
    first = opened(tmp_path)
    (tmp_path / "app/Dockerfile").chmod(0o600)
    assert opened(tmp_path, offline=True) == first
    assert len(stage.seen) == 1
    opened(tmp_path, digest="b" * 64)
    opened(tmp_path, more=', args = { A = "b" }')
    (tmp_path / "app/a/file").write_text("else")
    opened(tmp_path)
    assert len(stage.seen) == 4


def test_without_the_network_nothing_is_built(tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(OfflineError, match="'dockerfile app' is not built yet"):
        opened(tmp_path, offline=True)
    assert stage.seen == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"digest": "../x", "transport": "oci-archive"}', "[" * 3000]
)
def test_a_record_that_says_nothing_useful_is_none(
    tmp_path: Path, stage: Stage, cache: Path, text: str
) -> None:
    opened(tmp_path)
    (record,) = (cache / "urls").glob("build-*.json")
    assert json.loads(record.read_text())["transport"] == "oci-archive"
    record.write_text(text)
    opened(tmp_path)
    assert len(stage.seen) == 2
