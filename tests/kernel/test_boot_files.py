from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import GuestPathError, SourceError
from bangerbuild.kernel import boot_files
from bangerbuild.kernel.boot_files import copy, find_initrd, find_kernel
from tests.disk.ext4_tools import make_ext4

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KERNELS = "/boot/vmlinuz-*"
INITRDS = "/boot/initrd.img-*"


class Tree:
    """The root directory of a guest, that mke2fs puts into a disk."""

    def __init__(self, directory: Path) -> None:
        self.top = directory / "tree"
        self._disk = directory / "disk.ext4"
        (self.top / "boot").mkdir(parents=True)

    def files(self, *names: str) -> None:
        for name in names:
            (self.top / name).write_bytes(name.encode())

    @contextmanager
    def opened(self) -> Iterator[Filesystem]:
        make_ext4(self._disk, "-d", str(self.top), size="16M")
        with RawFile(self._disk) as blocks, Filesystem(blocks) as disk:
            yield disk

    def kernel(self, pattern: str = KERNELS) -> str:
        with self.opened() as disk:
            return find_kernel(disk, pattern).path

    def initrd(self, pattern: str = INITRDS, release: str | None = None) -> str:
        with self.opened() as disk:
            return find_initrd(disk, pattern, release).path

    def kernel_error(self, pattern: str = KERNELS) -> str:
        with pytest.raises(SourceError) as caught:
            self.kernel(pattern)
        return caught.value.brief


@pytest.fixture
def guest(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_newest_kernel_is_taken_by_the_value_of_its_numbers(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64", "boot/vmlinuz-5.10.0-30-amd64")
    assert guest.kernel() == "/boot/vmlinuz-6.1.0-10-amd64"


def test_leftovers_and_hidden_files_are_passed_over(guest: Tree) -> None:
    newer = ("9.old", "9.bak", "9.dpkg-new", "9.dpkg-bak", "9~", "9.rpmsave", "9.hmac")
    guest.files("boot/vmlinuz-6.1.0", *(f"boot/vmlinuz-6.1.{suffix}" for suffix in newer), "boot/.vmlinuz-7")
    assert guest.kernel() == "/boot/vmlinuz-6.1.0"
    assert guest.kernel("/boot/*") == "/boot/vmlinuz-6.1.0"


def test_a_leftover_that_is_named_without_a_pattern_is_taken(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0.old", "boot/vmlinuz-6.1.0")
    assert guest.kernel("/boot/vmlinuz-6.1.0.old") == "/boot/vmlinuz-6.1.0.old"


def test_directories_and_symlinks_that_lead_nowhere_are_passed_over(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0")
    (guest.top / "boot" / "vmlinuz-7.0").mkdir()
    (guest.top / "boot" / "vmlinuz-8.0").symlink_to("gone")
    assert guest.kernel() == "/boot/vmlinuz-6.1.0"


def test_a_symlink_and_its_file_are_one_kernel_under_the_files_name(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0")
    (guest.top / "boot" / "vmlinuz-9-default").symlink_to("vmlinuz-6.1.0")
    assert guest.kernel() == "/boot/vmlinuz-6.1.0"


def test_hard_links_to_one_kernel_count_once(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0-amd64")
    os.link(guest.top / "boot/vmlinuz-6.1.0-amd64", guest.top / "boot/vmlinuz-6.1.0-other")
    assert guest.kernel().startswith("/boot/vmlinuz-6.1.0-")


def test_symlinks_outside_the_directory_are_compared_by_what_they_lead_to(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0-9-amd64", "boot/vmlinuz-6.1.0-10-amd64")
    (guest.top / "vmlinuz-b").symlink_to("boot/vmlinuz-6.1.0-9-amd64")
    (guest.top / "vmlinuz-a").symlink_to("/vmlinuz-c")
    (guest.top / "vmlinuz-c").symlink_to("boot/vmlinuz-6.1.0-10-amd64")
    with guest.opened() as disk:
        found = find_kernel(disk, "/vmlinuz*")
    assert found.path in {"/vmlinuz-a", "/vmlinuz-c"}
    assert (found.name, found.release) == ("vmlinuz-6.1.0-10-amd64", "6.1.0-10-amd64")


def test_a_symlink_named_without_a_pattern_is_followed(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0-9-amd64")
    (guest.top / "vmlinuz").symlink_to("boot/vmlinuz-6.1.0-9-amd64")
    assert guest.kernel("/vmlinuz") == "/vmlinuz"


def test_a_kernel_that_names_no_version_is_taken_if_it_is_alone(guest: Tree) -> None:
    guest.files("boot/vmlinuz-linux")
    assert guest.kernel() == "/boot/vmlinuz-linux"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-9-cloud-amd64"),
        ("vmlinuz-6.01.0", "vmlinuz-6.1.0"),
        ("vmlinuz-linux", "vmlinuz-linux-lts"),
    ],
)
def test_two_kernels_of_one_version_are_both_named(guest: Tree, one: str, other: str) -> None:
    guest.files(f"boot/{one}", f"boot/{other}")
    assert guest.kernel_error() == (
        f"'/boot/vmlinuz-*' matches more than one kernel of one version: '/boot/{one}' and '/boot/{other}'"
    )


def test_no_kernel_at_the_pattern_names_what_is_there(guest: Tree) -> None:
    guest.files("boot/config-6.1.0", "boot/vmlinuz-6.1.0.old")
    said = "no kernel matches '/boot/vmlinuz-*': '/boot' holds 'config-6.1.0', 'vmlinuz-6.1.0.old'"
    assert guest.kernel_error() == said


def test_of_many_names_only_the_first_are_told(guest: Tree) -> None:
    guest.files(*(f"boot/{letter}" for letter in "abcdefghijkl"))
    assert guest.kernel_error().endswith("holds 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h' and 4 more")


def test_an_empty_or_missing_directory_is_told(guest: Tree) -> None:
    assert guest.kernel_error() == "no kernel matches '/boot/vmlinuz-*': '/boot' is empty"
    assert guest.kernel_error("/efi/*") == "no kernel matches '/efi/*': there is no '/efi' in the image"


def test_a_file_in_the_directorys_place_is_told(guest: Tree) -> None:
    guest.files("kernels")
    with pytest.raises(GuestPathError, match=r"'/kernels' in '.*' is no directory"):
        guest.kernel("/kernels/vmlinuz-*")


def test_the_initrd_is_the_one_for_the_kernel_though_another_is_newer(guest: Tree) -> None:
    guest.files("boot/initrd.img-6.1.0-9-amd64", "boot/initrd.img-6.1.0-10-amd64")
    assert guest.initrd(release="6.1.0-9-amd64") == "/boot/initrd.img-6.1.0-9-amd64"


def test_without_a_kernel_to_follow_the_newest_initrd_is_taken(guest: Tree) -> None:
    guest.files("boot/initrd.img-6.1.0-9-amd64", "boot/initrd.img-6.1.0-10-amd64")
    assert guest.initrd() == "/boot/initrd.img-6.1.0-10-amd64"


def test_an_initrd_for_another_kernel_is_an_error_that_names_it(guest: Tree) -> None:
    guest.files("boot/initrd.img-6.1.0-9-amd64")
    with pytest.raises(SourceError) as caught:
        guest.initrd(release="6.1.0-10-amd64")
    assert caught.value.brief == (
        "no initrd for kernel 6.1.0-10-amd64: '/boot/initrd.img-*' matches '/boot/initrd.img-6.1.0-9-amd64'"
    )
    assert caught.value.hint is not None
    assert "update-initramfs -c -k 6.1.0-10-amd64" in caught.value.hint


def test_an_initrd_that_names_no_version_serves_any_kernel(guest: Tree) -> None:
    guest.files("boot/initramfs-virt", "boot/initramfs-6.0.0")
    assert guest.initrd("/boot/initramfs-*", release="6.6.8-0-virt") == "/boot/initramfs-virt"


def test_an_initrd_named_without_a_pattern_is_taken_whatever_it_is_for(guest: Tree) -> None:
    guest.files("boot/initrd.img-6.1.0-9-amd64")
    path = "/boot/initrd.img-6.1.0-9-amd64"
    assert guest.initrd(path, release="6.1.0-10-amd64") == path


def test_no_initrd_at_the_pattern_names_what_is_there(guest: Tree) -> None:
    guest.files("boot/vmlinuz-6.1.0")
    with pytest.raises(SourceError) as caught:
        guest.initrd(release="6.1.0")
    assert caught.value.brief == "no initrd matches '/boot/initrd.img-*': '/boot' holds 'vmlinuz-6.1.0'"


def test_a_file_is_copied_through_its_symlink(guest: Tree, tmp_path: Path) -> None:
    guest.files("boot/vmlinuz-6.1.0")
    (guest.top / "vmlinuz").symlink_to("boot/vmlinuz-6.1.0")
    with guest.opened() as disk:
        copy(disk, find_kernel(disk, "/vmlinuz"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"boot/vmlinuz-6.1.0"


def test_a_file_of_absurd_size_is_not_copied(
    guest: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.files("boot/vmlinuz-6.1.0")
    monkeypatch.setattr(boot_files, "LIMIT_BYTES", 17)
    with (
        guest.opened() as disk,
        pytest.raises(
            SourceError, match=r"^'/boot/vmlinuz-6.1.0' has 18 bytes, more than anything that boots$"
        ),
    ):
        copy(disk, find_kernel(disk, KERNELS), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_pattern_that_matches_more_than_any_image_has_is_an_error(
    guest: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_files, "MOST_MATCHES", 2)
    guest.files("boot/vmlinuz-1", "boot/vmlinuz-2", "boot/vmlinuz-3")
    assert guest.kernel_error() == "'/boot/vmlinuz-*' matches 3 names, more than any image has"
