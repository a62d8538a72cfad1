"""Filesystem images of the host, cloned as they are."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.model import HostPath, Source
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.files import FileContent
from bangerbuild.sources.source import DiskImage
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.sources.building import ID, MIB, Context, built, declared, problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A filesystem beside the manifest."""
    return make_ext4(tmp_path / "disk.ext4", size="8M")


@pytest.mark.parametrize(("more", "known_bytes"), [("", 8 * MIB), (', size = "16MiB"', 16 * MIB)])
def test_its_size_is_known_before_it_is_made(tmp_path: Path, disk: Path, more: str, known_bytes: int) -> None:
    source = declared(tmp_path, f'rootfs = {{ ext4 = "disk.ext4"{more} }}').rootfs
    assert source == Ext4Source(HostPath(disk, "disk.ext4"), 16 * MIB if more else None)
    assert source.known_bytes == known_bytes


def test_a_size_that_is_smaller_than_the_file_is_a_problem_of_its_line(tmp_path: Path, disk: Path) -> None:
    (problem,) = problems(tmp_path, 'rootfs.ext4 = "disk.ext4"\nrootfs.size = "4MiB"')
    assert (problem.line, problem.key) == (3, "image.a.rootfs.size")
    assert problem.message == "size is '4MiB', smaller than 'disk.ext4': 8MiB"


def test_only_content_and_size_count_in_the_recipe(disk: Path) -> None:
    source = Ext4Source(HostPath(disk, "disk.ext4"), 16 * MIB)
    assert recipe(source) == {"rootfs.size": 16 * MIB}
    assert source.reads("rootfs") == (Source("rootfs.ext4", disk, "disk.ext4", parts_from_bytes=4 << 30),)


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_a_command_line_names_one_by_its_content(tmp_path: Path, kind: str) -> None:
    assert Ext4Source.claims(str(make_ext4(tmp_path / "anything", "-t", kind, size="8M")))
    assert not Ext4Source.claims(str(tmp_path / "missing"))
    assert not Ext4Source.claims(str(tmp_path))


def test_it_is_read_where_it_lies_and_is_not_ours(disk: Path) -> None:
    with Ext4Source(HostPath(disk, "disk.ext4")).open(Context()) as content:
        assert content.data == DiskImage(disk, "disk.ext4", None)


@pytest.mark.parametrize("is_packed", [False, True])
def test_one_that_was_fetched_is_unpacked_into_staging(
    tmp_path: Path, disk: Path, *, is_packed: bool
) -> None:
    fetched = tmp_path / "fetched"
    fetched.write_bytes(gzip.compress(disk.read_bytes()) if is_packed else disk.read_bytes())
    (tmp_path / "staging").mkdir()
    file = FileContent(fetched, "a download", 16 * MIB, None)
    with Ext4Source.open_file(file, Context(tmp_path / "staging")) as content:
        assert content.data == DiskImage(
            tmp_path / "staging/unpacked.ext4", "a download", 16 * MIB, is_ours=True
        )
        assert_clean(content.data.path)
        assert content.data.path.read_bytes() == disk.read_bytes()


def test_one_that_unpacks_to_more_than_it_may_is_refused(tmp_path: Path, disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(6 * MIB)
        file.write(bytes(range(1, 256)) * 8000)
    (tmp_path / "packed").write_bytes(gzip.compress(disk.read_bytes()))
    content = FileContent(tmp_path / "packed", "a download", None, MIB)
    with (
        pytest.raises(SourceError, match=r"'a download' has .* and unpacks to more than 1 MiB"),
        Ext4Source.open_file(content, Context(tmp_path)),
    ):
        pass
    assert not (tmp_path / "unpacked.ext4").exists()


def test_an_image_has_the_bytes_of_the_file_and_leaves_it_alone(project: Project, disk: Path) -> None:
    before = disk.read_bytes()
    image = built(project, '[image.debian.rootfs]\next4 = "disk.ext4"\n')
    assert image.path.read_bytes() == before == disk.read_bytes()


def test_a_larger_size_grows_the_image_and_not_the_file(project: Project, disk: Path) -> None:
    image = built(project, '[image.debian.rootfs]\next4 = "disk.ext4"\nsize = "16MiB"\n')
    assert image.path.stat().st_size == 16 * MIB
    assert image.superblock("Block count") == str(16 * MIB // 4096)
    assert disk.stat().st_size == 8 * MIB


def test_a_file_that_is_no_filesystem_fails_its_step_by_name(project: Project) -> None:
    (project.directory / "disk.ext4").write_bytes(b"QFI\xfb" + bytes(8 * MIB))
    project.write('[image.debian.rootfs]\next4 = "disk.ext4"\n')
    error = project.error(ID)
    assert "disk.ext4" in error.brief
    assert "qcow2" in error.brief
