"""`verify`, `gc` and `destroy` as commands: their exit codes, streams and questions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.projects import write_small
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

MANIFEST = """[image.tree]
rootfs = { directory = "tree", size = "16MiB" }
[vm.web]
image = "tree"
root.format = "raw"
"""


@pytest.fixture
def project(tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_small(tmp_path, MANIFEST)
    done = cli("apply", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_verify_ends_with_its_sum_and_tells_each_artifact_before(cli: CommandLine, project: Path) -> None:
    done = cli("verify", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert any("vms/web/root.ext4" in line for line in done.stdout.splitlines()[:-1])
    document = json.loads(cli("verify", "--json", cwd=project).stdout)
    assert {check["result"] for check in document["checks"]} == {"ok"}


def test_verify_fails_for_damage_and_is_busy_for_a_disk_in_use(cli: CommandLine, project: Path) -> None:
    with opened_by_another(project / "build/vms/web/root.ext4"):
        assert cli("verify", cwd=project).returncode == 4
    (project / "build/vms/web/root.ext4").write_bytes(b"")
    assert cli("verify", cwd=project).returncode == 1


def test_gc_says_what_it_would_do_and_then_does_it(cli: CommandLine, project: Path) -> None:
    (project / "tree/new").touch()
    cli("apply", "-q", "--target", "image.tree", "--replace", "vm.web", cwd=project)
    said = cli("gc", "-n", "--json", cwd=project)
    assert said.returncode == 0
    removed = [waste["path"] for waste in json.loads(said.stdout)["removed"]]
    done = cli("gc", "--json", cwd=project)
    assert [waste["path"] for waste in json.loads(done.stdout)["removed"]] == removed
    assert not any((project / "build" / path).exists() for path in removed)


def test_gc_keeps_no_less_than_nothing_of_the_cache(cli: CommandLine, project: Path) -> None:
    assert cli("gc", "--keep-cache", "-1", cwd=project).returncode == 3
    assert cli("gc", "--keep-cache", "0", cwd=project).returncode == 0


def test_destroy_names_what_goes_and_asks(cli: CommandLine, project: Path) -> None:
    done = cli("destroy", "--target", "vm.web", cwd=project)
    assert done.returncode == 3
    assert "root.ext4" in done.stderr
    assert "say --yes" in done.stderr
    assert (project / "build/vms/web/root.ext4").exists()


def test_destroy_goes_ahead_where_that_is_said(cli: CommandLine, project: Path) -> None:
    done = cli("destroy", "--target", "vm.web", "--yes", cwd=project)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert not (project / "build/vms/web/root.ext4").exists()


def test_destroy_needs_a_target(cli: CommandLine, project: Path) -> None:
    assert cli("destroy", "--yes", cwd=project).returncode == 3
    assert (project / "build/vms/web/root.ext4").exists()
