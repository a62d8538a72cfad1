"""Trees written into a fresh ext4: how large it is made, what does not fit, and large directories."""

from __future__ import annotations

import errno
import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.errors import FilesystemError, SourceError
from tests.disk.ext4_tools import debugfs
from tests.fakes import RecordingReporter
from tests.projects import DEBIAN, Project, write_tar
from tests.sources.building import MIB, built

if TYPE_CHECKING:
    from pathlib import Path

ID = "image.debian.rootfs"
TAR = '[image.debian.rootfs]\ntar = "root.tar"\n'
INDEX_FLAG = 0x1000
"""EXT4_INDEX_FL of `fs/ext4/ext4.h`."""


def artifacts(project: Project) -> list[Path]:
    """Every artifact in the store."""
    return [path for path in project.store.rglob("*") if path.is_file() and path.suffix in {".ext4", ".cow"}]


@pytest.mark.parametrize("size", ["", 'size = "64MiB"\n'])
def test_a_store_without_room_is_told_by_its_place(
    debian: Project, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if len(data) < 1024:  # a lock's
            return pwrite(fd, data, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    debian.write(TAR + size)
    monkeypatch.setattr(os, "pwrite", full)
    error = debian.error(ID)
    assert (
        error.brief == f"'{debian.store}': no space left on device while the image of 'root.tar' is written"
    )
    assert error.hint == "free some space there, or choose another place: --store DIR"


@pytest.mark.parametrize(("size", "size_bytes"), [("24MiB", 24 * MIB), ("100MiB", 100 * MIB)])
def test_an_image_has_the_size_that_was_asked_for(debian: Project, size: str, size_bytes: int) -> None:
    disk = built(debian, f'{TAR}size = "{size}"\n')
    assert disk.path.stat().st_size == size_bytes


def test_without_a_size_an_image_has_room_to_spare(project: Project) -> None:
    write_tar(project.directory / "root.tar", {"big": os.urandom(40 * MIB)})
    disk = built(project, TAR)
    assert int(disk.superblock("Free blocks")) * 4096 > 40 * MIB
    assert disk.path.stat().st_size % (16 * MIB) == 0


def test_it_is_told_how_far_an_image_is_and_of_how_much(project: Project) -> None:
    write_tar(project.directory / "root.tar", {f"big{number}": os.urandom(3 * MIB) for number in range(4)})
    project.write(f'{TAR}[vm.web]\nimage = "debian"\nwork = false\n')
    telling = RecordingReporter()
    pipeline.apply(pipeline.load_request(project.request()), reporter=telling)
    assert [text for event, text in telling.events if event == "progress"] == [
        f"{ID}: {done * MIB} of {12 * MIB}" for done in (6, 12)
    ]


def test_many_small_files_find_an_inode_each(project: Project) -> None:
    write_tar(project.directory / "root.tar", {f"d/{number}": b"" for number in range(30_000)})
    disk = built(project, TAR)
    assert len(disk.names("/d")) == 30_000


@pytest.mark.parametrize("size", ["17MiB", "2MiB", "400KiB", "4KiB"])
def test_content_that_does_not_fit_is_an_error_that_names_the_way_out(project: Project, size: str) -> None:
    write_tar(project.directory / "root.tar", {"small": b"s", "var/big": os.urandom(20 * MIB)})
    project.write(f'{TAR}size = "{size}"\n')
    error = project.error(ID)
    assert isinstance(error, FilesystemError | SourceError)
    assert "root.tar" in error.brief
    assert ".staging" not in error.brief
    assert error.hint == "make `size` larger, or leave it out"
    assert artifacts(project) == []


def flags_of(disk: Path, guest: str) -> int:
    found = re.search(r"Flags: 0x([0-9a-f]+)", debugfs(disk, f"stat {guest}").decode())
    assert found
    return int(found[1], 16)


def test_a_directory_too_large_for_a_list_gets_the_index_that_the_kernel_would_give_it(
    project: Project,
) -> None:
    """Or a guest that asks for its names one by one reads all of it each time."""
    many = {f"many/{number:05}{'x' * 200}": b"" for number in range(1000)}
    write_tar(project.directory / "root.tar", {**DEBIAN, **many})
    disk = built(project, TAR)
    assert flags_of(disk.path, "/many") & INDEX_FLAG
    assert not flags_of(disk.path, "/etc") & INDEX_FLAG
    assert disk.names("/many") == {name.removeprefix("many/") for name in many}


def test_without_room_for_an_index_there_is_none_and_the_image_is_whole(project: Project) -> None:
    """Short of a few blocks e2fsck would leave a directory of a wrong size."""
    many = {f"many/{number:05}{'x' * 200}": b"" for number in range(1000)}
    write_tar(project.directory / "root.tar", {**many, "fill": bytes(10_450_000 + 383 * 4096)})
    disk = built(project, f'{TAR}size = "16MiB"\n')
    assert not flags_of(disk.path, "/many") & INDEX_FLAG
    assert disk.names("/many") == {name.removeprefix("many/") for name in many}
    (warning,) = project.warnings
    assert "'root.tar' has directories of many names and no room for an index: make `size` larger" in warning


def test_a_file_may_be_patched_into_a_directory_with_an_index(project: Project) -> None:
    many = {f"many/{number:05}{'x' * 200}": b"" for number in range(1000)}
    write_tar(project.directory / "root.tar", {**DEBIAN, **many})
    project.write(f'{TAR}[vm.web]\nimage = "debian"\nfile = [{{ guest = "/many/new", content = "new" }}]\n')
    project.build()
    guest = project.guest()
    guest.assert_clean()
    assert guest.text("/many/new") == "new"
    assert len(guest.names("/many")) == len(many) + 1


def test_an_image_with_an_index_is_the_same_bytes_each_time(project: Project) -> None:
    many = {f"many/{number:05}{'x' * 200}": b"" for number in range(1000)}
    write_tar(project.directory / "root.tar", many)
    first = built(project, TAR).path.read_bytes()
    shutil.rmtree(project.store)
    assert built(project, TAR).path.read_bytes() == first
