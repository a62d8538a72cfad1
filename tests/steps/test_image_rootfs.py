from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild import manifest, store
from bangerbuild.errors import FilesystemError, SourceError, ToolError
from bangerbuild.model import Verb
from bangerbuild.steps.image_rootfs import ImageRootfs
from tests.disk.ext4_tools import change_superblock, debugfs, make_ext4
from tests.need import need
from tests.projects import DEBIAN, Disk, codes, write_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.projects import Project

MIB = 1 << 20
ID = "image.debian.rootfs"
TAR = '[image.debian.rootfs]\ntar = "root.tar"\n'
EXT4 = '[image.debian.rootfs]\next4 = "disk.ext4"\n'
DIRECTORY = '[image.debian.rootfs]\ndirectory = "tree"\n'
EPOCH = 946_684_800
INDEX_FLAG = 0x1000
"""EXT4_INDEX_FL of `fs/ext4/ext4.h`."""


def compressed(plain: bytes) -> dict[str, bytes]:
    return {
        "plain": plain,
        "gz": gzip.compress(plain),
        "bz2": bz2.compress(plain),
        "xz": lzma.compress(plain),
        "zst": zstandard.compress(plain),
    }


def declared(project: Project) -> ImageRootfs:
    (step,) = ImageRootfs.declare(manifest.load((project.directory / "vm.toml",)))
    return step


def built(project: Project, text: str) -> Disk:
    """The image that the manifest gives; e2fsck must be content with it."""
    project.write(text)
    project.build()
    disk = Disk(project.image())
    disk.assert_clean()
    return disk


def artifacts(project: Project) -> list[Path]:
    """Every artifact in the store."""
    return [path for path in project.store.rglob("*") if path.is_file() and path.suffix in {".ext4", ".cow"}]


# as it is declared


def test_each_image_of_a_manifest_is_a_step_of_its_own(debian: Project) -> None:
    debian.write(TAR + '[image.other.rootfs]\ntar = "root.tar"\n')
    steps = list(ImageRootfs.declare(manifest.load((debian.directory / "vm.toml",))))
    assert [step.id for step in steps] == [ID, "image.other.rootfs"]
    assert [step.outputs for step in steps] == [
        ("images/debian/{fingerprint}/rootfs.ext4",),
        ("images/other/{fingerprint}/rootfs.ext4",),
    ]


@pytest.mark.parametrize(
    ("text", "role", "name"),
    [
        (TAR, "rootfs.tar", "root.tar"),
        (EXT4, "rootfs.ext4", "disk.ext4"),
        (DIRECTORY, "rootfs.directory", "tree"),
    ],
)
def test_its_source_is_what_the_manifest_names(debian: Project, text: str, role: str, name: str) -> None:
    (debian.directory / "disk.ext4").touch()
    (debian.directory / "tree").mkdir()
    debian.write(text)
    (source,) = declared(debian).sources
    assert (source.role, source.path, source.written) == (role, debian.directory / name, name)


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


def test_a_new_recipe_makes_a_new_image_and_leaves_the_old_one_untouched(debian: Project) -> None:
    first = built(debian, TAR).path
    before = first.read_bytes()
    write_tar(debian.directory / "root.tar", {**DEBIAN, "etc/motd": "new"})
    assert codes(debian.plan()[ID].reasons) == ["source-changed"]
    second = built(debian, TAR).path
    assert second != first
    assert first.read_bytes() == before


def test_a_recipe_that_comes_back_finds_its_image_still_there(debian: Project) -> None:
    first = built(debian, TAR + 'size = "24MiB"\n').path
    built(debian, TAR + 'size = "32MiB"\n')
    debian.write(TAR + 'size = "24MiB"\n')
    action = debian.plan()[ID]
    assert (action.verb, debian.store / action.artifacts[0]) == (Verb.KEEP, first)


def test_an_image_that_somebody_changed_is_made_again(debian: Project) -> None:
    path = built(debian, TAR).path
    before = path.read_bytes()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"x" * 100)
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.REPLACE, ["artifact-modified"])
    debian.build()
    assert path.read_bytes() == before


def test_an_image_that_is_gone_is_made_again_under_the_same_name_with_the_same_bytes(debian: Project) -> None:
    path = built(debian, TAR).path
    before = path.read_bytes()
    shutil.rmtree(debian.store / "images")
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["missing"])
    debian.build()
    assert path.read_bytes() == before


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_an_image_may_be_read_and_not_written_whatever_the_umask(debian: Project, umask: int) -> None:
    before = os.umask(umask)
    try:
        path = built(debian, TAR).path
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o444


# from a tarball


@pytest.mark.parametrize("compression", ["plain", "gz", "bz2", "xz", "zst"])
def test_a_tarball_becomes_an_image_however_it_is_compressed(debian: Project, compression: str) -> None:
    archive = debian.directory / "root.tar"
    archive.write_bytes(compressed(archive.read_bytes())[compression])
    before = archive.read_bytes()
    disk = built(debian, TAR)
    for name, content in DEBIAN.items():
        assert disk.read(f"/{name}") == (content.encode() if isinstance(content, str) else content)
    assert archive.read_bytes() == before


def special_tar(path: Path) -> None:
    """Owners, modes, times, links and a device, as a root filesystem has them."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.mtime = kind, len(data), 1_234_567_890
            for key, value in fields.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))

        add("tmp", tarfile.DIRTYPE, mode=0o1777)
        add("usr/bin/su", data=b"su", mode=0o4755)
        add("srv/file", data=b"x" * 100_000, mode=0o640, uid=1000, gid=70_000)
        add("srv/hard", tarfile.LNKTYPE, linkname="srv/file")
        add("srv/soft", tarfile.SYMTYPE, linkname="../etc/passwd")
        add("dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
        add("srv/caps", data=b"c", pax_headers={"SCHILY.xattr.user.note": "hello"})


def test_owners_modes_times_links_devices_and_attributes_are_kept(project: Project) -> None:
    special_tar(project.directory / "root.tar")
    disk = built(project, TAR)
    assert (disk.stat("/tmp").type, disk.stat("/tmp").mode) == ("directory", "01777")
    assert disk.stat("/usr/bin/su").mode == "04755"
    found = disk.stat("/srv/file")
    assert (found.mode, found.owner, found.links, found.size) == ("0640", "1000:70000", 2, 100_000)
    assert found.mtime == 1_234_567_890
    assert disk.read("/srv/hard") == b"x" * 100_000
    assert disk.stat("/srv/soft").target == "../etc/passwd"
    assert b"Device major/minor number: 01:03" in debugfs(disk.path, "stat /dev/null")
    assert b'user.note (5) = "hello"' in debugfs(disk.path, "ea_list /srv/caps")


@pytest.mark.parametrize(("size", "size_bytes"), [("24MiB", 24 * MIB), ("100MiB", 100 * MIB)])
def test_an_image_has_the_size_that_was_asked_for(debian: Project, size: str, size_bytes: int) -> None:
    disk = built(debian, f'{TAR}size = "{size}"\n')
    assert disk.path.stat().st_size == size_bytes


def test_without_a_size_an_image_has_room_to_spare(project: Project) -> None:
    write_tar(project.directory / "root.tar", {"big": os.urandom(40 * MIB)})
    disk = built(project, TAR)
    assert int(disk.superblock("Free blocks")) * 4096 > 40 * MIB
    assert disk.path.stat().st_size % (16 * MIB) == 0


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


# from a directory


def test_a_directory_becomes_an_image_whose_files_are_roots_and_of_our_time(project: Project) -> None:
    tree = project.directory / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "app.conf").write_text("port = 80\n")
    (tree / "etc" / "app.conf").chmod(0o640)
    (tree / "link").symlink_to("etc/app.conf")
    disk = built(project, DIRECTORY)
    found = disk.stat("/etc/app.conf")
    assert (disk.text("/etc/app.conf"), found.mode, found.owner) == ("port = 80\n", "0640", "0:0")
    assert {disk.stat(name).mtime for name in ("/etc/app.conf", "/etc", "/link", "/")} == {EPOCH}
    assert disk.stat("/link").target == "etc/app.conf"


def test_a_directory_comes_out_of_debugfs_as_it_went_in(project: Project) -> None:
    tree = project.directory / "tree"
    for number in range(40):
        (tree / str(number)).mkdir(parents=True)
        (tree / str(number) / "data").write_bytes(os.urandom(number * 3001))
    dumped = built(project, DIRECTORY).dump(project.directory / "dumped")
    (dumped / "lost+found").rmdir()
    subprocess.run([need("diff", "diffutils"), "--recursive", tree, dumped], check=True)


@pytest.mark.root
def test_the_hosts_owners_are_kept_if_that_is_asked_for(project: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (project.directory / "tree").mkdir()
    (project.directory / "tree" / "file").touch()
    os.chown(project.directory / "tree" / "file", 1234, 5678)
    disk = built(project, f'{DIRECTORY}owner = "keep"\n')
    assert disk.stat("/file").owner == "1234:5678"


# from an ext4


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


COMPRESSED = "name it with `tar = …` if it is a tarball, else decompress it"
AS_TAR = "name it with `tar = …`"
CONVERT = (
    "convert it with `qemu-img convert -O raw`, and name the partition that is the root filesystem with "
    "`ext4 = …`"
)
NO_EXT4 = "give an ext4 filesystem itself: unpacked, and without a partition table"
BAD_EXT4: dict[str, tuple[Callable[[Path], None], str, str | None]] = {
    "wrong link count": (
        break_link_count,
        "the filesystem in 'disk.ext4' has errors",
        "e2fsck -f 'disk.ext4'",
    ),
    "wrong bitmap": (break_bitmap, "the filesystem in 'disk.ext4' has errors", "e2fsck -f 'disk.ext4'"),
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
    "qcow2": (qcow2, "'disk.ext4' holds no ext4 filesystem: it looks like a qcow2 disk image", CONVERT),
    "tar": (
        tarball,
        "'disk.ext4' holds no ext4 filesystem: it looks like a tarball",
        "name it with `tar = …`",
    ),
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


# what it needs


def test_without_mke2fs_there_is_one_plain_error_that_names_the_package(
    debian: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian.write(TAR)
    monkeypatch.setattr("bangerbuild.process.SEARCH_PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        debian.apply()
    assert (caught.value.brief, caught.value.hint) == ("'mke2fs' is not installed", "apt install e2fsprogs")
    assert artifacts(debian) == []


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
