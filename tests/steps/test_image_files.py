"""Files of an image's own: written into it whatever it is made of, and refused where they can't be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FilesystemError, GuestPathError
from tests.sources.building import BASE, DERIVED, ID, MIB, built

if TYPE_CHECKING:
    from tests.projects import Project


@pytest.fixture
def base(debian: Project) -> Project:
    """A project with a base image, built."""
    built(debian, BASE)
    return debian


def test_files_that_do_not_fit_are_told_with_the_way_out(base: Project) -> None:
    (base.directory / "site").mkdir()
    (base.directory / "site/big").write_bytes(os.urandom(200 * MIB))
    base.write(BASE + DERIVED)
    error = base.error("image.web.rootfs")
    assert isinstance(error, FilesystemError)
    assert "no space left in the guest filesystem" in error.brief
    assert error.hint == "give the image a larger `size`"


def test_a_file_where_a_directory_is_is_refused_by_its_path(base: Project) -> None:
    base.write(BASE + DERIVED.replace("/etc/motd", "/etc/ssh").partition("[[image.web.file_sync]]")[0])
    error = base.error("image.web.rootfs")
    assert isinstance(error, GuestPathError)
    assert "/etc/ssh" in error.brief


def test_an_owner_that_the_image_does_not_know_is_refused(base: Project) -> None:
    base.write(
        BASE + DERIVED.replace("www-data:www-data", "nobody:root").partition("[[image.web.file_sync]]")[0]
    )
    error = base.error("image.web.rootfs")
    assert "'nobody' is not in the guest's /etc/passwd" in error.brief


def test_an_image_of_any_source_may_have_files(debian: Project) -> None:
    disk = built(debian, BASE + '[[image.debian.file]]\nguest = "/etc/motd"\ncontent = "hello"\n')
    assert disk.text("/etc/motd") == "hello"


def test_an_image_without_files_of_its_own_keeps_the_fingerprint_it_had(debian: Project) -> None:
    """What is empty is no part of a recipe: images that were built before files could be given stay."""
    debian.write(BASE)
    assert sorted(debian.plan()[ID].recipe.fields) == ["rootfs.size"]
