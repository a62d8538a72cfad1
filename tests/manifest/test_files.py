"""Manifest files are read with what they include, each once; what can't be read is told by file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bangerbuild.errors import Problem
from bangerbuild.model import HostPath
from bangerbuild.sources.tar import TarSource
from tests.manifest.loading import loaded, problems, problems_of, write
from tests.manifests import MINIMAL


def test_an_included_file_brings_its_names_and_its_paths_start_from_it() -> None:
    write("images/debian/root.tar", "")
    write("images/all.toml", 'include = ["debian/image.toml"]')
    write("images/debian/image.toml", '[image.debian.rootfs]\ntar = "root.tar"')
    manifest = loaded('include = ["images/all.toml"]\n[vm.web]\nimage = "debian"')

    assert manifest.images["debian"].rootfs == TarSource(
        HostPath(Path.cwd() / "images/debian/root.tar", "root.tar")
    )
    assert manifest.files == (Path("vm.toml"), Path("images/all.toml"), Path("images/debian/image.toml"))


def test_a_file_included_by_two_ways_is_read_once() -> None:
    write("image.toml", '[image.debian.rootfs]\ntar = "root.tar"')
    write("sub/a.toml", 'include = ["../image.toml"]')
    write("b.toml", 'include = ["image.toml"]')
    manifest = loaded('include = ["sub/a.toml", "b.toml"]')

    assert list(manifest.images) == ["debian"]
    assert [path.name for path in manifest.files] == ["vm.toml", "a.toml", "image.toml", "b.toml"]


def test_an_include_may_start_from_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("home/mine.toml", MINIMAL)
    write("home/root.tar", "")
    assert list(loaded('include = ["~/mine.toml"]').vms) == ["web"]


def test_a_missing_manifest_says_how_to_name_one() -> None:
    (problem,) = problems(Path("vm.toml"))
    assert (problem.file, problem.line, problem.message) == (
        "vm.toml",
        0,
        "can't read the manifest: no such file or directory",
    )
    assert problem.hint == "write it, or name another manifest, such as path/to/vm.toml"


def test_a_directory_is_no_manifest_but_may_hold_one() -> None:
    assert problems(Path("tree")) == (
        Problem(
            "tree",
            0,
            "",
            "can't read the manifest: is a directory",
            "name the file in it, such as tree/vm.toml",
        ),
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_manifest_or_source_is_told() -> None:
    write("closed.toml", "").chmod(0)
    Path("root.tar").chmod(0)
    (first, second) = problems(Path("closed.toml"), write("vm.toml", MINIMAL))
    assert first.message == "can't read the manifest: permission denied"
    assert second.message == "'root.tar' can't be read: permission denied"


def test_a_manifest_in_another_encoding_is_told_with_the_line() -> None:
    Path("vm.toml").write_bytes(b"a = 1\nb = '\xfc'\n")
    assert problems(Path("vm.toml")) == (Problem("vm.toml", 2, "", "not UTF-8: byte 0xfc on this line"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "not TOML that can be read: it is nested too deeply"),
        ("a = " + "9" * 5000, "not TOML that can be read: a number has too many digits"),
        ("a = 0x" + "9" * 5000, "not TOML that can be read: an integer has more than 64 bits"),
    ],
)
def test_toml_past_what_is_read_here_is_told(text: str, message: str) -> None:
    assert problems_of(text) == (Problem("vm.toml", 0, "", message),)


def test_a_cyclic_include_is_told_as_a_path() -> None:
    write("a.toml", 'include = ["sub/b.toml"]')
    write("sub/b.toml", '# one line\ninclude = ["../a.toml"]')
    (problem,) = problems_of('include = ["a.toml"]')

    assert (problem.file, problem.line, problem.key) == ("sub/b.toml", 2, "include[0]")
    assert problem.message == "include cycle: a.toml -> sub/b.toml -> sub/../a.toml"


def test_a_mistake_in_an_included_file_names_that_file() -> None:
    write("sub/a.toml", "vmm = 1")
    write("sub/b.toml", "[vm\n")
    found = problems_of('include = ["sub/a.toml", "sub/b.toml"]')
    assert [(problem.file, problem.line) for problem in found] == [("sub/a.toml", 1), ("sub/b.toml", 1)]
