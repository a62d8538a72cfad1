"""Images of packages, made by the real mmdebstrap of a repository on this disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import FetchError, OfflineError
from bangerbuild.model import Verb
from bangerbuild.resolving import lockfile
from tests.fetch.repository import add_package
from tests.need import need
from tests.projects import Disk, codes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

ID = "image.tiny.rootfs"
MANIFEST = """\
[image.tiny.rootfs.mmdebstrap]
suite = "tiny"
packages = ["world"]
mirror = "deb [trusted=yes] copy:{repository} ./"
arguments = ["--mode=chrootless", "--variant=custom"]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two packages; the user's cache is empty."""
    need("mmdebstrap")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "repository"
    path.mkdir()
    add_package(path, "hello", "1.0")
    add_package(path, "world", "1.0", depends="hello")
    return path


def entry(project: Project) -> lockfile.LockEntry:
    return lockfile.read(project.directory / "bangerbuild.lock").entries[ID]


def built(project: Project, repository: Path) -> Disk:
    project.write(MANIFEST.format(repository=repository))
    project.build()
    disk = Disk(project.image("tiny"))
    disk.assert_clean()
    return disk


def test_packages_and_what_they_depend_on_become_an_image_and_the_tarball_is_locked(
    project: Project, repository: Path
) -> None:
    disk = built(project, repository)
    assert disk.text("/usr/share/hello/text") == "hello 1.0\n"
    assert disk.text("/usr/share/world/text") == "world 1.0\n"
    words = dict(entry(project).words)
    assert list(words) == ["mmdebstrap", "packages", "arguments", "mirror", "sha256", "versions"]
    assert store.read(project.store).records[ID].facts["pin"] == words
    assert project.plan()[ID].verb is Verb.KEEP


def test_a_mirror_that_moved_on_moves_nothing_that_is_locked_and_in_the_cache(
    project: Project, repository: Path
) -> None:
    path = built(project, repository).path
    before = path.read_bytes()
    add_package(repository, "hello", "2.0")
    assert project.plan()[ID].verb is Verb.KEEP
    path.unlink()
    project.offline = True
    assert built(project, repository).path.read_bytes() == before


def test_an_upgrade_takes_what_the_mirror_has_now(project: Project, repository: Path) -> None:
    built(project, repository)
    old = entry(project)
    add_package(repository, "hello", "2.0")
    pipeline.lock(pipeline.load_request(project.request(), project.warnings.append), "tiny")
    assert entry(project).pin.versions != old.pin.versions
    assert codes(project.plan()[ID].reasons) == ["source-changed"]
    assert built(project, repository).text("/usr/share/hello/text") == "hello 2.0\n"


def test_what_the_mirror_no_longer_has_is_told_where_no_cache_has_it_either(
    project: Project, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(project, repository).path.unlink()
    add_package(repository, "hello", "2.0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    error = project.error(ID)
    assert isinstance(error, FetchError)
    assert error.brief == (
        "'mmdebstrap tiny' gives other versions than the lock file has, and those are in no cache here"
    )


def test_other_packages_in_the_manifest_are_asked_anew(project: Project, repository: Path) -> None:
    built(project, repository)
    old = entry(project)
    project.write(MANIFEST.format(repository=repository).replace('["world"]', '["hello"]'))
    project.build()
    assert entry(project).pin != old.pin
    assert not Disk(project.image("tiny")).exists("/usr/share/world")


def test_a_package_that_is_not_there_is_told_before_there_is_a_store(
    project: Project, repository: Path
) -> None:
    project.write(MANIFEST.format(repository=repository).replace('"world"', '"wrold"'))
    with pytest.raises(FetchError, match="'mmdebstrap tiny' has not all of these packages"):
        project.apply()
    assert not project.store.exists()


def test_offline_an_unknown_suite_is_refused_by_name(project: Project, repository: Path) -> None:
    project.write(MANIFEST.format(repository=repository))
    project.offline = True
    with pytest.raises(OfflineError, match="'mmdebstrap tiny' is not in the cache"):
        project.plan()
