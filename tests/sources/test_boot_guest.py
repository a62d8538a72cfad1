"""Kernels and initrds out of an image's own root filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.kernel.boot_files import find_kernel
from bangerbuild.sources.boot_guest import GuestBootFile
from tests.sources.building import Context, declared, problems, recipe
from tests.steps.guest_disks import ext4_seed

if TYPE_CHECKING:
    from pathlib import Path

ROOTFS = 'rootfs.directory = "."\n'
STEP = "image.a.rootfs"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A step that has an image with two kernels, and a directory of its own."""
    (tmp_path / "staging").mkdir()
    files = {"/boot/vmlinuz-6.1.0-9": b"old", "/boot/vmlinuz-6.1.0-10": b"new", "/boot/notes": b"none"}
    image = ext4_seed(tmp_path / "rootfs.ext4", files, size="16M")
    return Context(tmp_path / "staging", artifacts={STEP: image})


def test_a_manifest_gives_a_guest_path_whose_last_component_may_be_a_pattern(tmp_path: Path) -> None:
    source = declared(tmp_path, ROOTFS + 'kernel = { guest = "/boot/vmlinuz-*" }').kernel
    assert source == GuestBootFile("/boot/vmlinuz-*")


@pytest.mark.parametrize("path", ["/bo*t/vmlinuz", "/b?/vmlinuz", "/[ab]/vmlinuz-*"])
def test_a_pattern_in_the_name_of_a_directory_is_refused(tmp_path: Path, path: str) -> None:
    (problem,) = problems(tmp_path, ROOTFS + f'kernel = {{ guest = "{path}" }}')
    assert (problem.line, problem.key) == (3, "image.a.kernel.guest")
    assert problem.message == f"'{path}' has a pattern in the name of a directory"
    assert problem.hint == "only the last component may hold * and ?"


def test_a_relative_path_is_refused_once(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ROOTFS + 'kernel = { guest = "boot/vmlinuz" }')
    assert problem.key == "image.a.kernel.guest"


def test_the_pattern_counts_and_the_root_filesystem_is_an_input(tmp_path: Path) -> None:
    source = GuestBootFile("/boot/vmlinuz-*")
    assert recipe(source) == {"rootfs.guest": "/boot/vmlinuz-*"}
    assert (source.inputs("a"), source.reads("kernel")) == ((STEP,), ())


def test_the_file_is_copied_out_of_the_image_for_as_long_as_it_is_open(context: Context) -> None:
    with GuestBootFile("/boot/vmlinuz-*").open(context, "a", find_kernel) as content:
        assert content.path.read_bytes() == b"new"
        assert content.path.parent == context.staging
        assert content.written == "/boot/vmlinuz-6.1.0-10"
        assert content.guest is not None
        assert content.guest.read("/boot/notes") == b"none"
    assert not list(context.staging.iterdir())


def test_a_pattern_that_matches_nothing_is_told_with_what_there_is(context: Context) -> None:
    source = GuestBootFile("/boot/bzImage*")
    with (
        pytest.raises(SourceError, match="'/boot/bzImage\\*'") as caught,
        source.open(context, "a", find_kernel),
    ):
        pass
    assert "vmlinuz-6.1.0-10" in caught.value.brief
    assert not list(context.staging.iterdir())
