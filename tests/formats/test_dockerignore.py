"""`.dockerignore`: the paths that are left out, compared with what buildah leaves out."""

from __future__ import annotations

import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.dockerignore import IgnoreRules, parse
from bangerbuild.formats.hostentry import TreeRules
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("a.log", "kept", "dir/a.log", "dir/deep/kept", "dir/deep/a.txt", "other/x", "other/y", "q.[a]", "#x")
RULES = {
    "one name": "dir\n",
    "a slash first and last": "/dir/\n",
    "a name that is not at the top": "deep\n",
    "any depth": "**/*.log\n",
    "one star": "*.log\ndir/*\n",
    "one character": "?ept\n",
    "a class": "other/[x-z]\n",
    "an exception below what is left out": "dir\n!dir/deep/kept\n",
    "the last one counts": "!other/x\nother\n",
    "everything but": "*\n!other/x\n!kept\n",
    "stars at the end": "dir/**\n!dir/deep/a.txt\n",
    "stars in the middle": "dir/**/kept\n",
    "comments and blanks": "# dir\n\n  other  \n",
    "points": "./dir/../other\n",
    "an escape": "\\#x\n",
}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("context")
    for name in FILES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top


def walked(context: Path, text: str) -> set[str]:
    """The files that are taken."""
    rules = TreeRules(ignore=IgnoreRules(parse(text)))
    return {entry.path for entry in walk_directory(context, rules) if entry.type.value == "file"}


@pytest.mark.root
@pytest.mark.parametrize("rule", RULES)
def test_it_takes_what_buildah_takes(context: Path, tmp_path: Path, rule: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("buildah needs root where namespaces are not allowed")
    place, out = tmp_path / "storage", tmp_path / "out"
    out.mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "ignored").write_text(RULES[rule])
    storage = (f"--root={place / 'root'}", f"--runroot={place / 'run'}", "--storage-driver=vfs")
    ignored = (f"--file={tmp_path / 'Dockerfile'}", f"--ignorefile={tmp_path / 'ignored'}")
    output = (f"--output=type=tar,dest={out / 'x.tar'}", str(context))
    apart = (need("unshare", "util-linux"), "--mount")
    command = (*apart, need("buildah"), *storage, "build", "--isolation=chroot", *ignored, *output)
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(out / "x.tar") as archive:
        theirs = {member.name.removeprefix("./") for member in archive if member.isreg()}
    assert walked(context, RULES[rule]) == theirs


def test_directories_above_what_is_brought_back_are_taken_and_others_are_not(context: Path) -> None:
    rules = TreeRules(ignore=IgnoreRules(parse("*\n!dir/deep/kept\n")))
    paths = [entry.path for entry in walk_directory(context, rules)]
    assert paths == ["", "dir", "dir/deep", "dir/deep/kept"]


def test_what_is_left_out_as_a_whole_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "kept").touch()
    rules = TreeRules(ignore=IgnoreRules(parse("closed\n")))
    walk = walk_directory(tmp_path, rules)
    next(walk)
    (tmp_path / "closed").rmdir()
    (tmp_path / "closed").touch()
    assert [entry.path for entry in walk] == ["kept"]


def test_what_is_no_pattern_is_told() -> None:
    with pytest.raises(SourceError, match="is no pattern"):
        IgnoreRules(parse("[\n")).leaves_out("x")


@pytest.mark.parametrize(
    ("text", "path", "prunes"),
    [
        ("*\n!dir/deep/kept\n", "other", True),
        ("*\n!dir/deep/kept\n", "dir", False),
        ("*\n!dir/deep/kept\n", "dir/deep", False),
        ("*\n!**/kept\n", "other", False),
        ("*\n!d*/kept\n", "dir", False),
        ("*\n!d*/kept\n", "other", True),
        ("", "dir", False),
    ],
)
def test_a_directory_is_not_looked_into_unless_something_below_may_be_brought_back(
    text: str,
    path: str,
    prunes: bool,  # noqa: FBT001  a row of the table
) -> None:
    assert IgnoreRules(parse(text)).prunes(path) is prunes


def test_a_path_can_be_left_out_whatever_the_rules_say() -> None:
    rules = IgnoreRules(parse("!a[b]\n")).without("a[b]*")
    assert rules.leaves_out("a[b]*/x")
    assert not rules.leaves_out("a[b]c")
