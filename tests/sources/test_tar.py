"""Tarballs of the host as images."""

from __future__ import annotations

import gzip
import tarfile
from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import HostPath, Source
from bangerbuild.sources.source import EntryTree
from bangerbuild.sources.tar import TarSource
from tests.projects import DEBIAN, write_tar
from tests.sources.building import ID, MIB, Context, built, declared, problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project
    from tests.web import Web


def test_a_manifest_names_the_file_its_size_and_what_it_may_unpack_to(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "root.tar", DEBIAN)
    source = declared(tmp_path, 'rootfs = { tar = "root.tar", size = "2GiB", max_size = "8GiB" }').rootfs
    assert source == TarSource(HostPath(path, "root.tar"), 2 << 30, 8 << 30)
    assert source.known_bytes == 2 << 30


def test_only_content_and_size_count_in_the_recipe(tmp_path: Path) -> None:
    path = HostPath(tmp_path / "root.tar", "root.tar")
    assert recipe(TarSource(path, 2 << 30, 8 << 30)) == {"rootfs.size": 2 << 30}
    assert TarSource(path).reads("rootfs") == (Source("rootfs.tar", path.path, "root.tar"),)


@pytest.mark.parametrize("name", ["missing.tar", "directory"])
def test_a_tarball_that_can_not_be_read_is_a_problem_of_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "directory").mkdir()
    (problem,) = problems(tmp_path, f'rootfs.tar = "{name}"')
    assert (problem.line, problem.key) == (2, "image.a.rootfs.tar")
    assert name in problem.message


def test_a_command_line_names_one_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "anything", DEBIAN)
    assert TarSource.claims(str(path))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert TarSource.claims(str(path))
    (tmp_path / "text.tar").write_text("none\n")
    assert not TarSource.claims(str(tmp_path / "text.tar"))
    assert not TarSource.claims(str(tmp_path / "missing.tar"))


def test_it_can_be_walked_more_than_once_and_has_what_tar_has(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "root.tar", DEBIAN, {"bin": "usr/bin"})
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
    with TarSource(HostPath(path, "root.tar"), MIB).open(Context()) as content:
        assert isinstance(content.data, EntryTree)
        assert (content.data.written, content.data.size_bytes) == ("root.tar", MIB)
        for _ in range(2):
            with content.data.entries() as entries:
                assert {entry.path for entry in entries} >= names


def test_a_tarball_that_is_cut_short_fails_its_step_by_name(debian: Project) -> None:
    path = debian.directory / "root.tar"
    path.write_bytes(path.read_bytes()[:700])
    debian.write('[image.debian.rootfs]\ntar = "root.tar"\n')
    error = debian.error(ID)
    assert "'root.tar'" in error.brief


@pytest.mark.parametrize("source", ["url", "tar"])
def test_a_bomb_is_refused_by_the_limit_of_the_manifest(
    project: Project, web: Web, served: Path, source: str
) -> None:
    plain = write_tar(served / "plain", {"zeros": bytes(8 * MIB)}).read_bytes()
    for path in (served / "bomb", project.directory / "bomb"):
        path.write_bytes(gzip.compress(plain))
    where = web.url("bomb") if source == "url" else "bomb"
    project.write(f'[image.debian.rootfs]\n{source} = "{where}"\nmax_size = "4MiB"\n')
    error = project.error(ID)
    assert "unpacks to more than 4 MiB" in error.brief
    built(project, f'[image.debian.rootfs]\n{source} = "{where}"\nmax_size = "16MiB"\n')
