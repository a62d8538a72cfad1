"""Images out of a registry, from the manifest to the disk: pinned by tag, moved on demand, private."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import OfflineError, SourceError
from bangerbuild.model import Verb
from bangerbuild.resolving import lockfile
from tests.formats.oci.making import INDEX, LayoutMaker, layout_of, tarball, whiteout
from tests.formats.tarmaking import member
from tests.projects import Disk, codes
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Project

ID = "image.app.rootfs"
ONE = tarball(member(b"etc/release", b"one"), member(b"etc/old", b""))
TWO = tarball(whiteout(b"etc/old"), member(b"etc/release", b"two"))
ARM = tarball(member(b"etc/release", b"arm"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images under the tags `one`, `two` (with a layer more) and `both` (for two platforms)."""
    maker = LayoutMaker(tmp_path_factory.mktemp("image") / "layout")
    maker.add(maker.image(ONE), "one").add(maker.image(ONE, TWO), "two")
    manifests = [
        maker.image(layer, architecture=name, platform={"os": "linux", "architecture": name})
        for name, layer in (("amd64", ONE), ("arm64", ARM))
    ]
    return maker.add(maker.document({"schemaVersion": 2, "manifests": manifests}, INDEX), "both").path


@pytest.fixture(scope="module", params=[False, True], ids=["public", "private"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry"), is_private=request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def user(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows the way to the registry, is logged in, and has an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in registry.environ.items():
        monkeypatch.setenv(name, value)
    if registry.is_private:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(registry.log_in()))


def push(registry: Registry, layout: Path, tag: str, *options: str) -> None:
    registry.push(f"oci:{layout}:{tag}", "team/app:latest", *options)


def manifest(registry: Registry, more: str = "") -> str:
    return f'[image.app.rootfs]\noci = "{registry.name("team/app")}"\n{more}'


def release(project: Project) -> str:
    """Build; what the image says of itself."""
    project.build()
    disk = Disk(project.image("app"))
    disk.assert_clean()
    return disk.text("/etc/release")


def entry(project: Project) -> lockfile.LockEntry:
    return lockfile.read(project.directory / "bangerbuild.lock").entries[ID]


def upgrade(project: Project) -> None:
    pipeline.lock(pipeline.load_request(project.request(), project.warnings.append), "")


def test_a_tag_stands_for_what_it_did_until_it_is_asked_again(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "one")
    project.write(manifest(registry))
    assert release(project) == "one"
    first = entry(project)
    push(registry, layout, "two")
    assert project.plan()[ID].verb is Verb.KEEP
    assert (release(project), entry(project)) == ("one", first)
    upgrade(project)
    assert entry(project) != first
    assert codes(project.plan()[ID].reasons) == ["source-changed"]
    assert release(project) == "two"
    assert not Disk(project.image("app")).exists("/etc/old")


def test_the_entry_has_digest_and_platform_and_so_has_the_record(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "one")
    project.write(manifest(registry))
    release(project)
    words = dict(entry(project).words)
    assert list(words) == ["oci", "sha256", "platform"]
    assert words["platform"] == "linux/amd64"
    assert store.read(project.store).records[ID].facts["pin"] == words


def test_a_pinned_image_whose_tag_has_moved_is_fetched_by_its_digest(
    project: Project, registry: Registry, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, layout, "one")
    project.write(manifest(registry))
    upgrade(project)
    push(registry, layout, "two")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert release(project) == "one"


def test_once_it_is_in_the_cache_it_is_built_offline_in_any_store(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "two")
    project.write(manifest(registry))
    assert release(project) == "two"
    before = project.image("app").read_bytes()
    project.image("app").unlink()
    project.offline = True
    assert release(project) == "two"
    assert project.image("app").read_bytes() == before


def test_offline_an_unknown_tag_is_refused_by_name(project: Project, registry: Registry) -> None:
    project.write(manifest(registry))
    project.offline = True
    with pytest.raises(OfflineError, match="nobody knows which image"):
        project.apply()


def test_another_platform_than_the_only_image_has_is_refused_before_anything_is_written(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "one")
    project.write(manifest(registry))
    assert release(project) == "one"
    first = entry(project)
    project.write(manifest(registry, 'platform = "linux/arm64"\n'))
    for run in (project.plan, project.apply):
        with pytest.raises(SourceError, match="has no image for 'linux/arm64'"):
            run()
    assert entry(project) == first


def test_a_manifest_may_ask_for_a_platform_and_the_lock_file_for_one_that_it_has(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "both", "--all")
    project.write(manifest(registry, 'platform = "linux/arm64"\n'))
    assert release(project) == "arm"
    project.write(manifest(registry))  # what is locked stays, on a host of whatever platform
    assert release(project) == "arm"
    upgrade(project)
    assert entry(project).pin.platform == "linux/arm64"


def test_a_platform_that_is_not_there_is_told_with_those_that_are(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "both", "--all")
    project.write(manifest(registry, 'platform = "linux/riscv64"\n'))
    with pytest.raises(SourceError, match="has no image for 'linux/riscv64'") as caught:
        project.plan()
    assert caught.value.hint == "it has 'linux/amd64', 'linux/arm64'; say which with `platform`"


def test_an_image_in_dockers_form_is_pinned_to_what_the_registry_has(
    project: Project, registry: Registry, layout: Path
) -> None:
    push(registry, layout, "two", "--format=v2s2")
    project.write(manifest(registry))
    assert release(project) == "two"
    fingerprint = project.image("app").parent.name
    reference = f"{registry.name('team/app')}@sha256:{entry(project).pin.digest}"
    project.write(f'[image.app.rootfs]\noci = "{reference}"\n')
    assert release(project) == "two"
    assert project.image("app").parent.name == fingerprint


def test_who_is_not_logged_in_gets_what_is_public_and_is_told_how_to_log_in_for_the_rest(
    project: Project, registry: Registry, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, layout, "one")
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    project.write(manifest(registry))
    if not registry.is_private:
        assert release(project) == "one"
        return
    with pytest.raises(SourceError, match="is not there, or only for those who log in") as caught:
        project.plan()
    assert "skopeo login" in str(caught.value.hint)


def test_a_registry_and_a_layout_that_have_the_same_image_give_one_fingerprint(
    project: Project, registry: Registry, layout: Path
) -> None:
    single = layout_of(project.directory / "layout", ONE, TWO, tag="v1")
    registry.push(f"oci:{single}:v1", "team/app:latest")
    project.write(manifest(registry))
    release(project)
    fingerprint = project.image("app").parent.name
    project.write('[image.app.rootfs]\noci = "oci:layout:v1"\n')
    assert project.plan()[ID].fingerprint == fingerprint
