from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild import manifest
from bangerbuild.errors import ToolError
from bangerbuild.model import Verb
from bangerbuild.steps.image_rootfs import ImageRootfs
from tests.disk.ext4_tools import debugfs
from tests.need import need
from tests.projects import DEBIAN, codes, write_tar
from tests.sources.building import built

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

ID = "image.debian.rootfs"
EXT4 = '[image.debian.rootfs]\next4 = "disk.ext4"\n'
TAR = '[image.debian.rootfs]\ntar = "root.tar"\n'
DIRECTORY = '[image.debian.rootfs]\ndirectory = "tree"\n'
EPOCH = 946_684_800


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


# what it needs


def test_without_mke2fs_there_is_one_plain_error_that_names_the_package(
    debian: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian.write(TAR)
    monkeypatch.setattr("bangerbuild.host.process.SEARCH_PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        debian.apply()
    assert (caught.value.brief, caught.value.hint) == ("'mke2fs' is not installed", "apt install e2fsprogs")
    assert artifacts(debian) == []
