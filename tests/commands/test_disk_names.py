"""Disks that are named by a path or by an id, and paths in them as their guests have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.commands import browse, disk_names
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import UsageError
from bangerbuild.model import Recipe, Record
from bangerbuild.store import Staged
from tests.disk.ext4_tools import debugfs, make_ext4

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOT, WORK, DATA = "vms/web/root.ext4", "vms/web/work.ext4", "vms/web/data.ext4"
IMAGE = "images/debian/f/rootfs.ext4"
FILES: Mapping[str, Mapping[str, bytes]] = {
    IMAGE: {"/etc/hostname": b"image\n"},
    ROOT: {"/etc/hostname": b"web\n", "/root/hidden": b"below the work disk\n"},
    WORK: {"/.bashrc": b"work\n", "/own": b"own\n"},
    DATA: {"/table": b"data\n", "/srv/db/deep": b"deep\n"},
}
MOUNTED = {WORK: "/root", DATA: "/srv/db"}


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an image and a VM of three disks, not to be written."""
    path = tmp_path_factory.mktemp("named") / "build"
    with store.writing(path, timeout_seconds=0) as opened:
        staging = opened.stage()
        opened.publish([staged(artifact, staging) for artifact in FILES])
    return path


def staged(artifact: str, staging: Path) -> Staged:
    file = make_ext4(staging / artifact.replace("/", "-"), size="8M")
    with RawFile(file, writable=True) as blocks, Filesystem(blocks, writable=True, now=1) as disk:
        for name, content in FILES[artifact].items():
            disk.write_file(name, content)
        disk.make_symlink("/link", "/root/own")
    part = artifact.rpartition("/")[2].removesuffix(".ext4")
    part = "disk.data" if part == "data" else part
    step_id = "image.debian.rootfs" if artifact == IMAGE else f"vm.web.{part}"
    recipe = Recipe("fake", {}, {}, {}, {})
    records = [Record(step_id, recipe, "f", (artifact,))]
    if artifact in MOUNTED:
        records.append(
            Record(f"{step_id}.patch", recipe, "f", (artifact,), {"mount_point": MOUNTED[artifact]})
        )
    return Staged(tuple(records), {artifact: file})


def cat(disk: disk_names.NamedDisk, path: str) -> bytes:
    with browse.opened_for(disk, path, None, warn=unexpected) as filesystem:
        return b"".join(browse.content(filesystem, path))


def unexpected(message: str) -> None:
    raise AssertionError(message)


def test_a_path_of_a_disk_is_the_guests_or_the_disks_own(top: Path) -> None:
    disk = disk_names.at_path(top / WORK)
    assert cat(disk, "/root/.bashrc") == cat(disk, "/.bashrc") == debugfs(top / WORK, "cat /.bashrc")
    assert cat(disk_names.at_path(top / DATA), "/srv/db/table") == b"data\n"


def test_a_path_that_the_disk_itself_has_is_found_where_the_guest_has_none_of_it(top: Path) -> None:
    assert cat(disk_names.at_path(top / DATA), "/srv/db/deep") == b"deep\n"


def test_a_symlink_leads_where_the_guest_has_it(top: Path) -> None:
    assert cat(disk_names.at_path(top / WORK), "/root/link") == b"own\n"


def test_a_disk_of_no_store_has_its_own_paths(top: Path, tmp_path: Path) -> None:
    copy = tmp_path / "work.ext4"
    copy.write_bytes((top / WORK).read_bytes())
    assert cat(disk_names.at_path(copy), "/.bashrc") == b"work\n"


@pytest.mark.parametrize(
    ("word", "path", "content"),
    [
        ("vm.web", "/etc/hostname", b"web\n"),
        ("vm.web", "/root/.bashrc", b"work\n"),
        ("vm.web", "/root//./.bashrc", b"work\n"),
        ("vm.web", "/srv/db/table", b"data\n"),
        ("vm.web.root", "/root/hidden", b"below the work disk\n"),
        ("vm.web.work", "/own", b"own\n"),
        ("vm.web.work", "/root/own", b"own\n"),
        ("vm.web.work.patch", "/root/own", b"own\n"),
        ("vm.web.disk.data", "/table", b"data\n"),
        ("image.debian", "/etc/hostname", b"image\n"),
        ("image.debian.rootfs", "/etc/hostname", b"image\n"),
    ],
)
def test_an_id_stands_for_the_disk_that_has_the_path(top: Path, word: str, path: str, content: bytes) -> None:
    assert disk_names.is_id(word)
    assert cat(disk_names.by_id(word, path, top), path) == content


def test_the_mount_point_itself_is_the_top_of_its_disk(top: Path) -> None:
    with browse.opened_for(
        disk_names.by_id("vm.web", "/root", top), "/root", None, warn=unexpected
    ) as filesystem:
        assert set(browse.listing(filesystem, "/root", in_full=False)) == {
            ".bashrc",
            "link",
            "lost+found",
            "own",
        }


def test_a_file_of_that_name_comes_before_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vm.web").touch()
    assert disk_names.is_id("vm.web")
    monkeypatch.chdir(tmp_path)
    assert not disk_names.is_id("vm.web")
    assert not any(map(disk_names.is_id, ("web", "./vm.db", "vms/web/root.cow", "vm.", "work.ext4")))


@pytest.mark.parametrize(
    ("word", "brief", "hint"),
    [
        ("vm.wbe", "nothing in the store is called 'vm.wbe'", "did you mean 'vm.web'?"),
        ("image.debain", "nothing in the store is called 'image.debain'", "did you mean 'image.debian'?"),
        ("vm.new", "vm.new is not built", "bangerbuild apply --target vm.new"),
        ("vm.web.wrok", "'vm.web.wrok' is no disk", "did you mean 'vm.web.work'?"),
        (
            "vm.web.launch",
            "'vm.web.launch' is no disk",
            "disks: vm.web.disk.data, vm.web.root, vm.web.work",
        ),
    ],
)
def test_a_name_that_is_not_known_is_answered_with_its_neighbour(
    top: Path, word: str, brief: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        disk_names.by_id(word, "/", top, {"new", "web"})
    assert (caught.value.brief, caught.value.hint) == (brief, hint)


@pytest.mark.parametrize(
    ("word", "meant"), [("web", "vm.web"), ("wbe", "vm.web"), ("debian", "image.debian")]
)
def test_a_word_that_is_no_file_is_answered_with_the_id_that_it_may_stand_for(
    top: Path, word: str, meant: str
) -> None:
    with pytest.raises(UsageError, match=f"there is no disk '{word}'") as caught:
        disk_names.check_word(word, top, ())
    assert caught.value.hint == f"did you mean '{meant}'?"


def test_a_word_that_is_like_nothing_is_left_to_be_looked_for(top: Path) -> None:
    disk_names.check_word("something-else.ext4", top, ())
