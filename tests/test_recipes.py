"""examples/ci: the Makefile and the CI recipe, run as their comments say."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests import PROJECT
from tests.need import need
from tests.projects import Disk

if TYPE_CHECKING:
    from pathlib import Path

PACKED = {"data.ext4.gz", "root.cow.gz"}
NOTHING = "Nothing to do"


@dataclass
class Recipe:
    """A copy of the examples, as a checkout of a project's."""

    directory: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "BANGERBUILD": f"{sys.executable} -m bangerbuild",
            "PYTHONPATH": str(PROJECT),
            "MAKEFLAGS": "",
        }
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def make(self, *arguments: str) -> str:
        """Run make to its good end; what it printed."""
        done = self.run(need("make"), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ci(self, cache: Path) -> str:
        """Run the CI job to its good end; what it printed."""
        done = self.run("./ci", CI_CACHE=str(cache))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def edit(self, old: str, new: str) -> None:
        manifest = self.directory / "vm.toml"
        assert old in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(old, new))

    def packed(self) -> dict[str, int]:
        """The names in dist/ and when each was made."""
        return {path.name: path.stat().st_mtime_ns for path in (self.directory / "dist").iterdir()}

    def made_again(self, before: dict[str, int]) -> set[str]:
        after = self.packed()
        assert after.keys() == before.keys()
        return {name for name in after if after[name] != before[name]}


def checkout(directory: Path) -> Recipe:
    need("busybox", "busybox-static")
    need("gzip")
    shutil.copytree(
        PROJECT / "examples", directory, ignore=shutil.ignore_patterns("build", "dist", "rootfs*")
    )
    return Recipe(directory / "ci")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return checkout(tmp_path / "examples")


def test_make_packs_each_disk_once_and_then_does_nothing(recipe: Recipe) -> None:
    assert "create" in recipe.make()
    before = recipe.packed()
    assert before.keys() == PACKED
    assert recipe.make() == ""
    assert recipe.made_again(before) == set()


def test_make_leaves_the_disks_where_they_are_and_packs_their_bytes(recipe: Recipe, tmp_path: Path) -> None:
    recipe.make()
    for name in PACKED:
        disk = recipe.directory / "build/vms/web" / name.removesuffix(".gz")
        unpacked = gzip.decompress((recipe.directory / "dist" / name).read_bytes())
        assert unpacked == disk.read_bytes()
    (tmp_path / "data.ext4").write_bytes(
        gzip.decompress((recipe.directory / "dist/data.ext4.gz").read_bytes())
    )
    data = Disk(tmp_path / "data.ext4")
    data.assert_clean()
    assert data.text("/index.html") == "<h1>Hello</h1>\n"


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("Built by CI.", "Built by make.", {"root.cow.gz"}),
        ("<h1>Hello</h1>", "<h1>Bye</h1>", {"data.ext4.gz"}),
        ("# lands on the data disk", "# another comment", set()),
    ],
)
def test_make_does_again_only_what_has_changed(recipe: Recipe, old: str, new: str, again: set[str]) -> None:
    recipe.make()
    before = recipe.packed()
    recipe.edit(old, new)
    recipe.make()
    assert recipe.made_again(before) == again


def test_make_builds_a_disk_again_that_was_deleted(recipe: Recipe) -> None:
    recipe.make()
    (recipe.directory / "build/vms/web/root.cow").unlink()
    assert "vm.web.root" in recipe.make()
    assert (recipe.directory / "build/vms/web/root.cow").is_file()


def test_make_check_fails_as_long_as_something_is_pending_and_builds_nothing(recipe: Recipe) -> None:
    assert recipe.run(need("make"), "check").returncode != 0
    assert not (recipe.directory / "build").exists()
    recipe.make()
    assert NOTHING in recipe.make("check")


def test_a_wrong_manifest_ends_make_with_its_message_and_touches_nothing(recipe: Recipe) -> None:
    recipe.make()
    before = recipe.packed()
    recipe.edit('image = "busybox"', 'imgae = "busybox"')
    done = recipe.run(need("make"))
    assert done.returncode != 0
    assert "imgae" in done.stderr
    assert recipe.packed() == before


def test_make_clean_keeps_what_guests_have_written(recipe: Recipe) -> None:
    recipe.make()
    recipe.make("clean")
    assert (recipe.directory / "build/vms/web/data.ext4").is_file()
    assert not (recipe.directory / "dist").exists()


def test_a_second_ci_job_finds_its_disks_in_the_cache_and_builds_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = checkout(tmp_path / "one/examples").ci(cache)
    assert "no store in" in first
    assert "--- save" in first
    saved = (cache / "store.tar").stat().st_mtime_ns
    second = checkout(tmp_path / "two/examples")
    assert NOTHING in second.ci(cache)
    assert second.packed().keys() == PACKED
    assert (cache / "store.tar").stat().st_mtime_ns == saved


def test_a_ci_job_builds_only_what_has_changed_since_the_store_was_saved(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    checkout(tmp_path / "one/examples").ci(cache)
    second = checkout(tmp_path / "two/examples")
    second.edit("Built by CI.", "Built by another job.")
    said = second.ci(cache)
    assert "vm.web.root.patch" in said
    assert "image.busybox.rootfs" not in said
    assert "vm.web.disk.data" not in said
    assert "--- save" in said


def test_the_cache_takes_no_more_than_the_disks_hold(tmp_path: Path) -> None:
    recipe = checkout(tmp_path / "examples")
    recipe.ci(tmp_path / "cache")
    allocated = sum(path.stat().st_blocks * 512 for path in (recipe.directory / "build").rglob("*"))
    assert (tmp_path / "cache/store.tar").stat().st_size < 2 * allocated


def test_a_wrong_manifest_fails_a_ci_job_and_leaves_its_cache(recipe: Recipe, tmp_path: Path) -> None:
    recipe.edit('image = "busybox"', 'image = "bsybox"')
    done = recipe.run("./ci", CI_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert "bsybox" in done.stderr
    assert not (tmp_path / "cache").exists()
