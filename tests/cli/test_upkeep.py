"""`verify`, `gc` and `destroy` as commands: their exit codes, streams and questions."""

from __future__ import annotations

import json
import shutil
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


SEVERAL = """\
[image.small]
rootfs = {{ directory = "tree", size = "16MiB" }}

{vms}
"""
VM = '[vm.{name}]\nimage = "small"\nwork = false\n'


def declare(project: Path, *names: str, file: str = "vm.toml") -> None:
    vms = "\n".join(VM.format(name=name) for name in names)
    (project / file).write_text(SEVERAL.format(vms=vms))


@pytest.fixture
def several(cli: CommandLine, tmp_path: Path) -> Path:
    """A store with VMs of two manifests."""
    write_small(tmp_path, "")
    declare(tmp_path, "web-1", "web-2", "db")
    declare(tmp_path, "other", file="two.toml")
    for manifest in ("vm.toml", "two.toml"):
        done = cli("apply", manifest, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


def there(project: Path) -> set[str]:
    return {path.name for path in (project / "build/vms").iterdir()}


class TestUndeclared:
    """What left the manifests is named, and removed on demand; what another manifest declares is not."""

    def test_a_plan_names_what_left_and_what_to_type(self, cli: CommandLine, several: Path) -> None:
        assert json.loads(cli("plan", "--json", cwd=several).stdout)["undeclared"] == []
        declare(several, "web-1", "web-2")
        done = cli("plan", cwd=several)
        assert done.stdout.splitlines()[-1] == (
            "vm.db is no longer declared, and still in the store: "
            "`bangerbuild destroy --undeclared` removes what is there"
        )
        assert json.loads(cli("plan", "--json", cwd=several).stdout)["undeclared"] == ["vm.db"]
        assert "vm.db is no longer declared" in cli("apply", cwd=several).stderr
        assert json.loads(cli("plan", "--json", cwd=several).stdout)["undeclared"] == ["vm.db"]

    def test_it_is_removed_and_nothing_of_another_manifest(self, cli: CommandLine, several: Path) -> None:
        declare(several, "web-1")
        assert cli("destroy", "--undeclared", cwd=several).returncode == 3
        done = cli("destroy", "--undeclared", "--yes", cwd=several)
        assert done.returncode == 0, done.stderr
        assert there(several) == {"web-1", "other"}
        again = cli("destroy", "--undeclared", "--yes", cwd=several)
        assert (again.returncode, again.stdout) == (0, "Nothing is undeclared.\n")

    def test_status_says_who_declares_what(self, cli: CommandLine, several: Path) -> None:
        declare(several, "web-1", "web-2")
        found = json.loads(cli("status", "--json", cwd=several).stdout)["artifacts"]
        states = {one["id"]: (one["state"], one["declared_by"]) for one in found}
        assert states["vm.db.root"] == ("undeclared", None)
        assert states["vm.other.root"] == ("declared by two.toml", "two.toml")
        assert states["vm.web-1.root"] == ("current", None)
        assert "declared by two.toml" in cli("status", cwd=several).stdout

    def test_what_a_manifest_declared_that_is_gone_is_undeclared_and_goes_only_by_its_name(
        self, cli: CommandLine, several: Path
    ) -> None:
        (several / "two.toml").unlink()
        found = json.loads(cli("status", "--json", cwd=several).stdout)["artifacts"]
        states = {one["id"]: (one["state"], one["declared_by"]) for one in found}
        assert states["vm.other.root"] == ("undeclared", None)
        declare(several, "web-1")
        done = cli("destroy", "--undeclared", "--yes", cwd=several)
        assert "'two.toml', which declared it, is not there" in done.stderr
        assert there(several) == {"web-1", "other"}
        assert cli("destroy", "--target", "vm.other", "--yes", cwd=several).returncode == 0
        assert there(several) == {"web-1"}

    def test_plan_and_apply_say_that_a_manifest_is_gone_and_what_to_type(
        self, cli: CommandLine, several: Path
    ) -> None:
        assert cli("apply", cwd=several).stderr == ""  # and now there is a record of that
        (several / "two.toml").rename(several / "three.toml")
        said = (
            "vm.other is still in the store, and 'two.toml', which declared it, is not there: "
            "`bangerbuild destroy --store build --target vm.other` removes it"
        )
        given = ("vm.toml", "--store", "build")
        assert cli("plan", *given, cwd=several).stdout.splitlines()[-1] == said
        assert said in cli("apply", *given, cwd=several).stderr
        assert said in cli("apply", *given, cwd=several).stderr  # the fast answer
        assert "'two.toml', which declared it" in cli("apply", cwd=several).stderr
        for command in ("plan", "apply"):
            document = json.loads(cli(command, *given, "--json", cwd=several).stdout)
            assert document["orphaned"] == [{"id": "vm.other", "manifest": "two.toml"}]
            assert document["notes"] == [said]
            assert document["undeclared"] == []
        pasted = said.split("`")[1].split()[1:]
        assert cli(*pasted, "--yes", cwd=several).returncode == 0
        assert there(several) == {"web-1", "web-2", "db"}
        assert json.loads(cli("plan", "--json", cwd=several).stdout)["orphaned"] == []

    def test_a_manifest_that_only_has_another_name_declares_what_it_did(
        self, cli: CommandLine, several: Path
    ) -> None:
        (several / "two.toml").rename(several / "three.toml")
        done = cli("plan", "three.toml", "--json", cwd=several)
        assert json.loads(done.stdout)["orphaned"] == []

    def test_what_moved_to_another_manifest_is_its(self, cli: CommandLine, several: Path) -> None:
        declare(several, "web-1", "web-2")
        declare(several, "other", "db", file="two.toml")
        assert cli("apply", "two.toml", cwd=several).returncode == 0
        assert json.loads(cli("plan", "--json", cwd=several).stdout)["undeclared"] == []

    def test_a_project_that_was_moved_with_its_store_knows_its_own(
        self, cli: CommandLine, several: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        moved = tmp_path_factory.mktemp("moved") / "project"
        shutil.copytree(several, moved)
        declare(moved, "web-1", "web-2")
        assert json.loads(cli("plan", "--json", cwd=moved).stdout)["undeclared"] == ["vm.db"]

    def test_nothing_is_undeclared_while_the_manifest_can_t_be_read(
        self, cli: CommandLine, several: Path
    ) -> None:
        (several / "vm.toml").write_text("[vm")
        done = cli("destroy", "--undeclared", "--yes", cwd=several)
        assert done.returncode == 3
        assert there(several) == {"web-1", "web-2", "db", "other"}

    def test_nothing_named_is_nothing_removed(self, cli: CommandLine, several: Path) -> None:
        done = cli("destroy", "--yes", cwd=several)
        assert done.returncode == 3
        assert "--undeclared" in done.stderr


class TestPatterns:
    """`--target 'vm.web-*'`."""

    def test_plan_apply_and_status_take_them(self, cli: CommandLine, several: Path) -> None:
        for arguments in (["plan", "--json"], ["apply", "--json"]):
            done = cli(*arguments, "--target", "vm.web-*", cwd=several)
            ids = {action["id"].split(".")[1] for action in json.loads(done.stdout)["actions"]}
            assert ids == {"small", "web-1", "web-2"}
        found = json.loads(cli("status", "--json", "--target", "vm.*-1", cwd=several).stdout)["artifacts"]
        assert {one["id"].split(".")[1] for one in found} == {"small", "web-1"}

    def test_destroy_takes_them(self, cli: CommandLine, several: Path) -> None:
        done = cli("destroy", "--target", "vm.web-*", "--yes", cwd=several)
        assert done.returncode == 0, done.stderr
        assert there(several) == {"db", "other"}

    @pytest.mark.parametrize("command", ["plan", "apply", "destroy", "status"])
    def test_one_that_meets_nothing_is_refused(self, cli: CommandLine, several: Path, command: str) -> None:
        done = cli(command, "--target", "vm.wbe-*", cwd=several)
        assert done.returncode == 3
        assert "nothing is called like 'vm.wbe-*'" in done.stderr

    def test_replace_takes_none(self, cli: CommandLine, several: Path) -> None:
        done = cli("plan", "--replace", "vm.web-*", cwd=several)
        assert (done.returncode, done.stdout) == (3, "")
