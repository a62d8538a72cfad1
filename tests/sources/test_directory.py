"""Directories of the host as images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.model import HostPath, Pin, Source, Verb
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.source import EntryTree
from tests.fakes import EPOCH
from tests.projects import codes
from tests.sources.building import ID, MIB, Context, built, declared, problems, recipe

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

TEXT = '[image.debian.rootfs]\ndirectory = "tree"\nsize = "16MiB"\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory beside the manifest."""
    path = tmp_path / "tree"
    (path / "etc").mkdir(parents=True)
    (path / "etc/motd").write_text("hello\n")
    (path / "etc/motd").chmod(0o640)
    (path / "link").symlink_to("etc/motd")
    return path


@pytest.mark.parametrize(("more", "keeps"), [("", False), (', owner = "keep"', True)])
def test_a_manifest_says_whether_owners_are_kept(
    tmp_path: Path, tree: Path, more: str, *, keeps: bool
) -> None:
    source = declared(tmp_path, f'rootfs = {{ directory = "tree", size = "16MiB"{more} }}').rootfs
    assert source == DirectorySource(HostPath(tree, "tree"), 16 * MIB, keep_owner=keeps)
    assert source.reads("rootfs") == (Source("rootfs.directory", tree, "tree", TreeRules(keep_owner=keeps)),)


def test_size_and_owner_count_in_the_recipe_and_the_path_does_not(tree: Path) -> None:
    path = HostPath(tree, "tree")
    assert recipe(DirectorySource(path, MIB, keep_owner=True)) == {"rootfs.size": MIB, "rootfs.owner": True}
    assert recipe(DirectorySource(path)) == recipe(DirectorySource(HostPath(tree.parent, "elsewhere")))


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_directory_is_a_problem_of_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (problem,) = problems(tmp_path, f'rootfs.directory = "{name}"')
    assert (problem.line, problem.key) == (2, "image.a.rootfs.directory")


def test_a_command_line_names_any_directory_by_its_path(tmp_path: Path, tree: Path) -> None:
    assert DirectorySource.claims(str(tree))
    assert not DirectorySource.claims(str(tree / "etc/motd"))
    assert not DirectorySource.claims(str(tmp_path / "missing"))
    assert not DirectorySource.claims("~no-such-user-here/a")
    assert not DirectorySource.claims("a" * 300)


def test_only_what_begins_with_a_tilde_is_in_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/a").mkdir(parents=True)
    (tmp_path / "~").mkdir()
    (tmp_path / "~/b").mkdir()
    assert [DirectorySource.claims(text) for text in ("~/a", "~/b", "./~/a", "./~/b")] == [
        True,
        False,
        False,
        True,
    ]


def test_its_entries_have_one_time_and_one_owner_however_often_they_are_walked(tree: Path) -> None:
    with DirectorySource(HostPath(tree, "tree")).open(Context()) as content:
        assert isinstance(content.data, EntryTree)
        for _ in range(2):
            with content.data.entries() as entries:
                found = {entry.path: (entry.uid, entry.gid, entry.mtime_ns) for entry in entries}
            assert found.keys() == {"", "etc", "etc/motd", "link"}
            assert set(found.values()) == {(0, 0, EPOCH * 10**9)}


def test_it_is_never_asked_what_it_stands_for(tree: Path) -> None:
    with pytest.raises(NotImplementedError):
        DirectorySource(HostPath(tree, "tree")).ask(Context(), Pin("0" * 64))


def test_an_image_has_the_modes_links_and_texts_of_the_directory(project: Project, tree: Path) -> None:
    disk = built(project, TEXT)
    motd = disk.stat("/etc/motd")
    assert (disk.text("/etc/motd"), motd.mode, motd.owner) == ("hello\n", "0640", "0:0")
    assert disk.stat("/link").target == "etc/motd"


def test_the_hosts_owners_are_kept_on_demand(project: Project, tree: Path) -> None:
    disk = built(project, TEXT + 'owner = "keep"\n')
    assert disk.stat("/etc/motd").owner == f"{os.getuid()}:{os.getgid()}"


def test_a_file_more_makes_a_new_image_and_a_touch_does_not(project: Project, tree: Path) -> None:
    built(project, TEXT)
    os.utime(tree / "etc/motd", (1, 1))
    assert project.plan()[ID].verb is Verb.KEEP
    (tree / "new").touch()
    action = project.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["source-changed"])
