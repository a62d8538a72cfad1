"""Kernels and initrds that are files of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.model import HostPath, Source
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.source import BootContent
from tests.kernel.making import elf
from tests.sources.building import Context, declared, problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.kernel.boot_files import BootFile

ROOTFS = 'rootfs.directory = "."\n'


def never(guest: Filesystem, pattern: str) -> BootFile:
    raise AssertionError(f"{pattern} was sought in {guest}")


@pytest.fixture
def kernel(tmp_path: Path) -> HostPath:
    """A kernel beside the manifest."""
    (tmp_path / "vmlinux").write_bytes(elf())
    return HostPath(tmp_path / "vmlinux", "vmlinux")


def test_a_plain_value_names_the_file(tmp_path: Path, kernel: HostPath) -> None:
    assert declared(tmp_path, f'{ROOTFS}kernel = "vmlinux"').kernel == HostBootFile(kernel)


def test_a_file_that_is_not_there_is_a_problem_of_its_line(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, f'{ROOTFS}kernel = "gone"')
    assert (problem.line, problem.key) == (3, "image.a.kernel")
    assert "'gone'" in problem.message


def test_its_content_counts_under_one_role_wherever_it_lies(kernel: HostPath) -> None:
    source = HostBootFile(kernel)
    assert source.reads("kernel") == (Source("kernel", kernel.path, "vmlinux"),)
    assert (recipe(source), source.inputs("a")) == ({}, ())


def test_it_is_read_where_it_lies(kernel: HostPath) -> None:
    with HostBootFile(kernel).open(Context(), "a", never) as content:
        assert content == BootContent(kernel.path, "vmlinux")


@pytest.mark.parametrize("name", ["gone", "."])
def test_what_is_no_file_any_more_when_it_is_opened_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    source = HostBootFile(HostPath(tmp_path / name, name))
    with pytest.raises(SourceError, match=f"'{name}' is "), source.open(Context(), "a", never):
        pass
