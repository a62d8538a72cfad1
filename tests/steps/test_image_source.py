"""What every image goes through: a filesystem is cloned as it is, and e2fsck judges what comes out."""

from __future__ import annotations

import gzip
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from tests.disk.ext4_tools import change_superblock, make_ext4
from tests.need import need
from tests.projects import Project, write_tar
from tests.sources.building import MIB, built

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID = "image.debian.rootfs"
EXT4 = '[image.debian.rootfs]\next4 = "disk.ext4"\n'


def artifacts(project: Project) -> list[Path]:
    """Every artifact in the store."""
    return [path for path in project.store.rglob("*") if path.is_file() and path.suffix in {".ext4", ".cow"}]


@pytest.fixture
def source(project: Project) -> Path:
    """An ext4 with a file in it."""
    path = make_ext4(project.directory / "disk.ext4", size="32M")
    (project.directory / "hello").write_text("hello\n")
    command = [need("debugfs"), "-w", "-R", f"write {project.directory}/hello hello", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_an_ext4_is_taken_as_it_is(project: Project, source: Path) -> None:
    disk = built(project, EXT4)
    assert disk.path.read_bytes() == source.read_bytes()
    assert disk.path.stat().st_blocks <= source.stat().st_blocks


@pytest.mark.parametrize("kind", ["ext2", "ext3"])
def test_its_forebears_are_taken_too(project: Project, kind: str) -> None:
    path = make_ext4(project.directory / "disk.ext4", "-t", kind, size="32M")
    assert built(project, EXT4).path.read_bytes() == path.read_bytes()


def test_an_ext4_is_grown_to_the_size_that_was_asked_for_and_its_source_stays(
    project: Project, source: Path
) -> None:
    before = source.read_bytes()
    disk = built(project, f'{EXT4}size = "96MiB"\n')
    assert disk.path.stat().st_size == 96 * MIB
    assert disk.superblock("Block count") == str(96 * MIB // 4096)
    assert disk.text("/hello") == "hello\n"
    assert source.read_bytes() == before


def break_link_count(path: Path) -> None:
    command = [need("debugfs"), "-w", "-R", "set_inode_field <2> links_count 9", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def break_bitmap(path: Path) -> None:
    command = [need("debugfs"), "-w", "-R", "freeb 300 200", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def mark_errors(path: Path) -> None:
    change_superblock(path, state=2)


def leave_journal(path: Path) -> None:
    command = [need("debugfs"), "-w", "-R", "feature needs_recovery", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def count_wrong(path: Path) -> None:
    """An error for which `e2fsck -fn` ends with code 0; some tools that write an ext4 leave it."""
    change_superblock(path, free_blocks_count=7)


def cut_short(path: Path) -> None:
    os.truncate(path, 16 * MIB)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(MIB))


def compress(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def qcow2(path: Path) -> None:
    path.write_bytes(b"QFI\xfb\x00\x00\x00\x03" + bytes(MIB))


def tarball(path: Path) -> None:
    write_tar(path, {"a": "b"})


COMPRESSED = (
    "decompress it; or name it with `disk_image = …` in a manifest if a disk or a filesystem is inside, "
    "with `tar = …` if a tarball is"
)
AS_TAR = "name it with `tar = …` in a manifest"
AS_DISK = "name it with `disk_image = …` in a manifest"
NO_EXT4 = "give an ext4 filesystem itself: unpacked, and without a partition table"
BAD_EXT4: dict[str, tuple[Callable[[Path], None], str, str | None]] = {
    "wrong link count": (
        break_link_count,
        "the filesystem in 'disk.ext4' has errors",
        "e2fsck -f 'disk.ext4'",
    ),
    "wrong bitmap": (break_bitmap, "the filesystem in 'disk.ext4' has errors", "e2fsck -f 'disk.ext4'"),
    "wrong totals": (
        count_wrong,
        "the filesystem in 'disk.ext4' has errors",
        "e2fsck -f 'disk.ext4'",
    ),
    "marked": (mark_errors, "'disk.ext4' is marked as having errors", "e2fsck -f 'disk.ext4'"),
    "journal": (leave_journal, "'disk.ext4' has an unreplayed journal", "e2fsck -p 'disk.ext4'"),
    "truncated": (
        cut_short,
        "'disk.ext4' is cut short: its filesystem has 33554432 bytes, the disk 16777216",
        "put the whole file back from where it came",
    ),
    "empty": (empty, "'disk.ext4' holds no ext4 filesystem: it is empty", NO_EXT4),
    "zeros": (zeros, "'disk.ext4' holds no ext4 filesystem: it begins with zeros", NO_EXT4),
    "gzip": (compress, "'disk.ext4' holds no ext4 filesystem: it looks like a gzip stream", COMPRESSED),
    "qcow2": (qcow2, "'disk.ext4' holds no ext4 filesystem: it looks like a qcow2 disk image", AS_DISK),
    "tar": (tarball, "'disk.ext4' holds no ext4 filesystem: it looks like a tarball", AS_TAR),
}


@pytest.mark.parametrize("damage", BAD_EXT4)
@pytest.mark.parametrize("size", ["", 'size = "96MiB"\n'])
def test_a_rootfs_that_is_no_sound_ext4_is_one_plain_error(
    project: Project, source: Path, damage: str, size: str
) -> None:
    make_it, brief, hint = BAD_EXT4[damage]
    make_it(source)
    before = source.read_bytes()
    project.write(EXT4 + size)
    error = project.error(ID)
    assert (error.brief, error.hint) == (brief, hint)
    assert ".staging" not in str(error.details)
    assert artifacts(project) == []
    assert store.read(project.store).records == {}
    assert source.read_bytes() == before


def test_what_e2fsck_remarks_of_the_clock_is_no_error(project: Project, source: Path) -> None:
    change_superblock(source, mtime=20990101000000)
    done = subprocess.run([need("e2fsck"), "-fn", source], capture_output=True, check=True)
    assert b"is in the future.\nFix? no" in done.stdout
    built(project, EXT4)


def test_blocks_that_are_larger_than_a_page_are_warned_of(project: Project) -> None:
    make_ext4(project.directory / "disk.ext4", "-b", "8192", size="32M")
    project.write(EXT4)
    project.build()
    (warning,) = project.warnings
    assert "'disk.ext4' has blocks of 8192 bytes: x86 guests, whose pages have 4096" in warning


def test_an_ext4_that_is_full_is_taken_and_a_patch_of_it_says_so(project: Project, source: Path) -> None:
    (project.directory / "filler").write_bytes(os.urandom(40 * MIB))
    command = [need("debugfs"), "-w", "-R", f"write {project.directory}/filler filler", str(source)]
    subprocess.run(command, check=True, capture_output=True)
    cleaned = subprocess.run([need("e2fsck"), "-fy", source], capture_output=True, check=False)
    assert cleaned.returncode in {0, 1}
    before = source.read_bytes()
    project.write(
        f'{EXT4}[vm.web]\nimage = "debian"\n[[vm.web.file]]\nguest = "/big"\ncontent = "{"x" * 100_000}"\n'
    )
    results = project.apply()
    error = results["vm.web.root.patch"].error
    assert results[ID].error is None
    assert error is not None
    assert "no space left in the guest filesystem" in error.brief
    assert ".staging" not in error.brief
    assert not project.cow().exists()
    assert source.read_bytes() == before
