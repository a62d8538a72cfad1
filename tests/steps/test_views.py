"""What a patch may read of a guest: of the image each thing once, of the root its users of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError
from bangerbuild.steps.views import CONFIG_BYTES, ImageView, RootView
from tests.disk.ext4_tools import make_ext4
from tests.steps.guest_disks import as_guest, ext4_seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.guest.view import GuestView

FILES = {
    "/etc/passwd": b"image\n",
    "/etc/group": b"image\n",
    "/etc/fstab": b"image\n",
    "/etc/big": b"x" * (CONFIG_BYTES + 1),
}


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Filesystem]:
    path = ext4_seed(tmp_path / "image.ext4", FILES, size="32M")
    with RawFile(path) as blocks, Filesystem(blocks) as filesystem:
        yield filesystem


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Filesystem]:
    files = dict.fromkeys(("/etc/passwd", "/etc/group", "/etc/fstab", "/etc/new"), b"root\n")
    path = ext4_seed(tmp_path / "root.ext4", files, size="16M")
    with RawFile(path) as blocks, Filesystem(blocks) as filesystem:
        yield filesystem


def test_an_image_is_read_through_its_own_names(image: Filesystem) -> None:
    view = ImageView(image)
    assert (view.read("/etc/fstab"), view.read("/etc/none")) == (b"image\n", None)
    assert (view.exists("/etc"), view.exists("/etc/none")) == (True, False)
    assert (view.mode("/etc/fstab"), view.mode("/etc/none")) == (0o644, None)


def test_directories_are_listed_and_links_are_not_followed(tmp_path: Path) -> None:
    path = ext4_seed(tmp_path / "links.ext4", {"/etc/net/b": b"", "/etc/net/a": b""}, size="16M")
    with as_guest(path) as disk:
        disk.make_symlink("/etc/link", "net/a")
        disk.make_symlink("/etc/nowhere", "/none")
    with RawFile(path) as blocks, Filesystem(blocks) as filesystem:
        view = ImageView(filesystem)
        assert view.names("/etc/net") == ("a", "b")
        assert [view.names(name) for name in ("/etc/net/a", "/etc/none", "/etc/nowhere")] == [(), (), ()]
        assert (view.link("/etc/link"), view.link("/etc/nowhere")) == ("net/a", "/none")
        assert [view.link(name) for name in ("/etc/net", "/etc/net/a", "/etc/none")] == [None, None, None]
        root = RootView(view, filesystem)
        assert (root.names("/etc/net"), root.link("/etc/link")) == (("a", "b"), "net/a")


def test_the_names_in_a_directory_are_sorted_and_of_what_is_none_there_are_none(image: Filesystem) -> None:
    view = ImageView(image)
    assert view.names("/etc") == ("big", "fstab", "group", "passwd")
    assert (view.names("/etc/none"), view.names("/etc/fstab")) == ((), ())
    assert view.names("/etc") is view.names("/etc")


def test_a_filesystem_is_named_by_its_uuid_and_its_label(tmp_path: Path) -> None:
    uuid = "UUID=11111111-2222-3333-4444-555555555555"
    for options, tags in (((), {uuid}), (("-L", "my root"), {uuid, "LABEL=my root"})):
        path = make_ext4(tmp_path / "disk.ext4", *options, size="16M")
        with RawFile(path) as blocks, Filesystem(blocks) as filesystem:
            assert ImageView(filesystem).root_devices().tags == tags


def test_each_thing_is_read_once_what_is_not_there_too(
    image: Filesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ImageView(image)
    before = [view.read("/etc/fstab"), view.read("/etc/none"), view.mode("/etc"), view.mode("/etc/none")]
    listed = [view.names("/etc"), view.names("/none"), view.link("/etc"), view.link("/none")]

    def never(*_arguments: object, **_options: object) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(Filesystem, "read", never)
    monkeypatch.setattr(Filesystem, "stat", never)
    monkeypatch.setattr(Filesystem, "listdir", never)
    again = [view.read("/etc/fstab"), view.read("/etc/none"), view.mode("/etc"), view.mode("/etc/none")]
    assert again == before
    assert [view.names("/etc"), view.names("/none"), view.link("/etc"), view.link("/none")] == listed
    assert not view.exists("/etc/none")


def test_what_is_worked_out_of_an_image_is_worked_out_once_for_all_its_roots(
    image: Filesystem, root: Filesystem
) -> None:
    view = ImageView(image)
    asked: list[GuestView] = []

    def lines(of: GuestView) -> bytes | None:
        asked.append(of)
        return of.read("/etc/passwd")

    answers = [one.once("lines", lines) for one in (RootView(view, root), view, RootView(view, root))]
    assert answers == [b"image\n"] * 3
    assert asked == [view]
    assert view.once("other", lambda _image: 1) == 1


def test_a_file_that_would_fill_the_memory_is_refused(image: Filesystem) -> None:
    with pytest.raises(FilesystemError, match="/etc/big"):
        ImageView(image).read("/etc/big")


def test_a_root_has_the_users_of_now_and_all_else_of_its_image(image: Filesystem, root: Filesystem) -> None:
    view = RootView(ImageView(image), root)
    assert {view.read("/etc/passwd"), view.read("/etc/group")} == {b"root\n"}
    assert view.read("/etc/fstab") == b"image\n"
    assert (view.exists("/etc/new"), view.mode("/etc/new")) == (False, None)
    assert view.mode("/etc/passwd") == 0o644
