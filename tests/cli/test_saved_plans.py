"""`plan --out FILE`, a review, and `apply FILE`: that is done, or it is said what moved, and nothing is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from bangerbuild.cli import cli
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import BangerError
from tests.in_process import actions
from tests.projects import write_small

MANIFEST = """\
[vars]
port = "80"

[network.lan]
subnet = "172.16.0.0/24"

[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[fleet.r]
names = "r-{1..2}"
[fleet.r.vm]
image = "small"
network.name = "lan"
network.mode = "none"
root.format = "raw"
[[fleet.r.vm.file]]
guest = "/etc/app.conf"
content = "port = {{ vars.port }}\\n"
template = true
"""
PRIVATE_FILE = """
[[fleet.r.vm.file]]
guest = "/etc/secret"
content = { env = "BANGER_SECRET" }
"""


class Ended(NamedTuple):
    code: int
    out: str
    error: BangerError | None = None


def run(*arguments: str) -> Ended:
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if done.exception is None:
        return Ended(int(done.return_value or 0), done.stdout)
    if not isinstance(done.exception, BangerError):
        raise done.exception
    return Ended(done.exception.exit_code, done.stdout, done.exception)


def refused(*arguments: str) -> BangerError:
    """The error of a saved plan that no longer holds."""
    before = tree()
    ended = run("apply", "plan.json", *arguments)
    assert ended.code == 1
    assert ended.error
    assert ended.error.brief.startswith("the plan no longer holds: ")
    assert tree() == before
    return ended.error


def tree() -> dict[str, tuple[int, int]]:
    """What lies in the project and its store, but for what every writer leaves."""
    paths = (path for path in Path().rglob("*") if path.is_file() and not _OF_WRITERS & {*path.parts})
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


_OF_WRITERS = {".locks", "state.db", "state.db-wal", "state.db-shm", "state.db-journal"}


def edit(old: str, new: str) -> None:
    text = Path("vm.toml").read_text()
    assert old in text
    Path("vm.toml").write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a manifest of a fleet of two, and a plan of it."""
    monkeypatch.setenv("BANGER_SECRET", "tiger")
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    ended = run("plan", "--out", "plan.json", "--var", "port=81")
    assert ended.code == 0
    assert "fleet.r" in ended.out
    assert not Path("build").exists()
    return tmp_path


def test_what_was_reviewed_is_done_from_any_directory_and_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert run("apply", "--dry-run", str(project / "plan.json")).out.startswith(
        "  create  image.small.rootfs"
    )
    assert not (project / "build").exists()
    assert run("apply", "-q", str(project / "plan.json")).code == 0
    monkeypatch.chdir(project)
    assert run("cat", "build/vms/r-1/root.ext4", "/etc/app.conf").out == "port = 81\n"
    assert 'r-2 = "172.16.0.3"' in Path("bangerbuild.lock").read_text()
    assert "image.small.rootfs: create -> keep" in str(refused().details)


def test_an_input_that_moved_is_named_and_nothing_is_done(project: Path) -> None:
    Path("tree/etc/motd").write_text("new\n")
    assert "image.small.rootfs: create, of something else (tree)" in str(refused().details)
    assert not Path("build").exists()
    assert not Path("bangerbuild.lock").exists()
    Path("tree/etc/motd").unlink()
    edit("= {{", "is {{")
    assert "vm.r-1.root.patch: create, of something else (file[/etc/app.conf].content)" in str(
        refused().details
    )
    edit("is {{", "= {{")
    edit("r-{1..2}", "r-{1..3}")
    assert "vm.r-3.root: not there -> create" in str(refused().details)
    edit("r-{1..3}", "r-{1..2}")
    assert "of something else" in str(refused("--var", "port=82").details)
    assert run("apply", "-q", "plan.json").code == 0


def test_a_lease_that_moved_is_named(project: Path) -> None:
    Path("bangerbuild.lock").write_text('version = 1\n\n[network.lan]\nother = "172.16.0.2"\n')
    assert "the lease of vm.r-1: 172.16.0.2/24 -> 172.16.0.3/24" in str(refused().details)


def test_the_same_leases_hold_once_they_are_in_the_lock_file(project: Path) -> None:
    assert run("lock").code == 0
    assert run("apply", "-q", "plan.json").code == 0


def test_what_a_guest_writes_to_a_disk_that_is_kept_is_no_move(project: Path) -> None:
    assert run("apply", "-q", "plan.json").code == 0
    edit("80", "81")
    Path("tree/etc/passwd").touch()
    edit("[vars]", '[vm.new]\nimage = "small"\n[vars]')
    assert run("plan", "--out", "plan.json").code == 0
    disk = Path("build/vms/r-1/root.ext4")
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True) as filesystem:
        filesystem.write_file("/etc/mine", b"a guest's\n")
    os.utime(disk)
    assert run("apply", "-q", "plan.json").code == 0
    assert actions()["vm.new.root"] == "keep"
    assert run("cat", str(disk), "/etc/mine").out == "a guest's\n"


def test_no_secret_is_in_a_plan_and_another_one_is_noticed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit("template = true\n", f"template = true\n{PRIVATE_FILE}")
    assert run("plan", "--out", "plan.json").code == 0
    assert "tiger" not in Path("plan.json").read_text()
    monkeypatch.setenv("BANGER_SECRET", "lion")
    assert "(the environment variable 'BANGER_SECRET')" in str(refused().details)
    monkeypatch.setenv("BANGER_SECRET", "tiger")
    assert run("apply", "-q", "plan.json").code == 0
    assert run("cat", "build/vms/r-2/root.ext4", "/etc/secret").out == "tiger"


def test_a_copy_of_the_project_is_as_good_where_the_first_is_gone(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(project, copy)
    (project / "vm.toml").unlink()
    monkeypatch.chdir(copy)
    assert run("apply", "-q", "plan.json").code == 0
    assert (copy / "build/vms/r-1/root.ext4").exists()
    assert not (project / "build").exists()


@pytest.mark.parametrize(
    ("arguments", "brief"),
    [
        (("plan.json", "--target", "vm.r-1"), "--target was settled when 'plan.json' was made"),
        (("plan.json", "--replace", "vm.r-1"), "--replace was settled when 'plan.json' was made"),
        (("plan.json", "--store", "x"), "--store was settled when 'plan.json' was made"),
        (("vm.toml", "plan.json"), "'plan.json' is a saved plan, and applied alone"),
    ],
)
def test_what_was_settled_can_not_be_asked_for_again(
    project: Path, arguments: tuple[str, ...], brief: str
) -> None:
    ended = run("apply", *arguments)
    assert ended.code == 3
    assert ended.error
    assert ended.error.brief == brief


def test_targets_and_replacements_are_part_of_it(project: Path) -> None:
    assert run("apply", "-q", "plan.json").code == 0
    assert run("plan", "--out", "plan.json", "--replace", "vm.r-1.root", "--target", "vm.r-1").code == 0
    before = Path("build/vms/r-1/root.ext4").stat().st_ino
    document = json.loads(run("apply", "plan.json", "--json").out)
    done = {action["id"] for action in document["actions"] if action["result"] == "done"}
    assert done == {"vm.r-1.root", "vm.r-1.root.patch"}
    assert Path("build/vms/r-1/root.ext4").stat().st_ino != before


def test_the_node_is_part_of_it(project: Path) -> None:
    with (project / "vm.toml").open("a") as manifest:
        manifest.write("[node.one]\n[node.two]\n")
    assert run("plan", "--out", "plan.json", "--node", "two").code == 0
    done = run("apply", "plan.json", "--json")
    assert done.code == 0
    owners = {action["id"].split(".")[1] for action in json.loads(done.out)["actions"]}
    planned = json.loads((project / "plan.json").read_text())["actions"]
    assert owners == {step.split(".")[1] for step in planned}
    assert run("apply", "plan.json", "--node", "one").code == 3


@pytest.mark.parametrize(
    ("content", "brief"),
    [
        ('{"bangerbuild_plan": 1', "it is damaged, or was never written to its end"),
        ('{"bangerbuild_plan": 99}', "it is of version 99, and this program reads version 1"),
        (
            '{"format": 1, "actions": []}',
            "it is JSON, and no plan that `bangerbuild plan --out FILE` has written",
        ),
    ],
)
def test_a_damaged_old_or_foreign_file_is_one_clear_error(project: Path, content: str, brief: str) -> None:
    Path("plan.json").write_text(content)
    ended = run("apply", "plan.json")
    assert ended.code == 3
    assert ended.error
    assert ended.error.brief == f"'plan.json' can't be applied: {brief}"


def test_a_manifest_is_never_overwritten_and_a_plan_is_no_manifest(project: Path) -> None:
    before = Path("vm.toml").read_text()
    ended = run("plan", "--out", "vm.toml")
    assert ended.code == 3
    assert Path("vm.toml").read_text() == before
    ended = run("plan", "plan.json")
    assert ended.code == 3
    assert "a saved plan, or other JSON: `bangerbuild apply plan.json`" in str(ended.error)
