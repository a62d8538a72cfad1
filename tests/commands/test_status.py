from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import report
from bangerbuild.commands import status
from bangerbuild.errors import UsageError
from bangerbuild.model import Verb
from tests.disk.ext4_tools import change_superblock, remove_magic
from tests.manifests import KEY
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, forget, new_base
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandLine

WEB = f'{IMAGE}[vm.web]\nimage = "debian"\nwork.size = "64MiB"\n'
DB = '[vm.db]\nimage = "debian"\nroot.format = "raw"\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_tar(tmp_path / "root.tar", DEBIAN)
    return Project(tmp_path)


@pytest.fixture
def shown(project: Project, cli: CommandLine) -> Shown:
    return Shown(project, cli)


class Shown:
    """What `status` shows of a project."""

    def __init__(self, project: Project, cli: CommandLine) -> None:
        self._project = project
        self._cli = cli

    def __call__(self, *targets: str) -> dict[str, dict[str, Any]]:
        """By the artifacts' names, fingerprints left out."""
        found = status.look(replace(self._project.request(), targets=targets), ignore).artifacts
        return by_path([one.to_json() for one in found])

    def states(self, *targets: str) -> dict[str, str]:
        """But for launch configs."""
        return {path: one["state"] for path, one in self(*targets).items() if not path.endswith(".sh")}

    def printed(self, *arguments: str) -> str:
        """By the command."""
        done = self._cli("status", *arguments, cwd=self._project.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout


def ignore(_message: str) -> None:
    pass


def by_path(artifacts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {short(one["path"]): one for one in artifacts}


def short(path: str) -> str:
    """Without the fingerprint."""
    parts = path.split("/")
    return "/".join(parts[:2] + parts[3:]) if parts[0] == "images" else path


def test_every_step_that_can_be_planned_has_a_state() -> None:
    assert status.STATES.keys() == set(Verb)


def test_before_the_first_run_everything_is_missing_and_nothing_is_made(
    project: Project, shown: Shown
) -> None:
    project.write(WEB)
    found = shown()
    assert {one["state"] for one in found.values()} == {"missing"}
    assert {(one["size_bytes"], one["allocated_bytes"]) for one in found.values()} == {(None, None)}
    assert not project.store.exists()


def test_what_is_built_is_current_with_its_size_and_what_it_takes(project: Project, shown: Shown) -> None:
    project.write(WEB + DB)
    project.build()
    assert set(shown.states().values()) == {"current"}
    found = shown()
    work = found["vms/web/work.ext4"]
    assert (work["id"], work["size_bytes"], work["base"]) == ("vm.web.work", 64 << 20, None)
    for path, one in found.items():
        (there,) = [
            file for file in project.store.rglob("*") if short(str(file.relative_to(project.store))) == path
        ]
        assert one["allocated_bytes"] == there.stat().st_blocks * 512


def test_a_root_names_the_image_it_stands_on(project: Project, shown: Shown) -> None:
    project.write(WEB + DB)
    project.build()
    image = str(project.image().relative_to(project.store))
    found = shown()
    assert [found[path]["base"] for path in ("vms/web/root.cow", "vms/db/root.ext4")] == [image, image]


def test_a_disk_whose_patch_is_due_is_stale(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    project.write(WEB + f'ssh_authorized_keys = ["{KEY}"]\n')
    assert shown.states() == {
        "images/debian/rootfs.ext4": "current",
        "vms/web/root.cow": "current",
        "vms/web/work.ext4": "stale",
    }


@pytest.mark.parametrize(("size", "state"), [("128MiB", "stale"), ("32MiB", "blocked")])
def test_a_disk_of_another_size_is_stale_or_blocked(
    project: Project, shown: Shown, size: str, state: str
) -> None:
    project.write(WEB)
    project.build()
    project.write(WEB.replace("64MiB", size))
    assert shown.states()["vms/web/work.ext4"] == state


def test_an_image_whose_source_has_changed_is_stale_and_shown_as_it_is(
    project: Project, shown: Shown
) -> None:
    project.write(WEB)
    project.build()
    new_base(project, DEBIAN)
    image = shown()["images/debian/rootfs.ext4"]
    assert (image["state"], image["size_bytes"]) == ("stale", 24 << 20)
    assert (project.store / image["path"]).is_file()


def test_a_root_that_a_guest_wrote_to_is_blocked_by_a_new_image(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    with project.as_guest() as disk:
        disk.write_file("/a", b"a")
    old = shown()["vms/web/root.cow"]["base"]
    new_base(project, DEBIAN)
    found = shown()["vms/web/root.cow"]
    assert (found["state"], found["base"]) == ("blocked", old)


def test_a_root_of_another_format_is_shown_where_it_lies(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    project.write(WEB + 'root.format = "raw"\n')
    assert shown.states()["vms/web/root.cow"] == "stale"
    assert "vms/web/root.ext4" not in shown()


def test_a_disk_that_no_record_knows_is_unknown(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    forget(project)
    assert shown.states() == {
        "images/debian/rootfs.ext4": "stale",
        "vms/web/root.cow": "blocked",
        "vms/web/work.ext4": "unknown",
    }


def test_a_deleted_disk_is_missing(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    (project.store / "vms/web/work.ext4").unlink()
    found = shown()["vms/web/work.ext4"]
    assert (found["state"], found["size_bytes"]) == ("missing", None)


def test_the_disks_of_a_vm_that_no_manifest_declares_are_listed_last(project: Project, shown: Shown) -> None:
    project.write(WEB + DB)
    project.build()
    project.write(WEB)
    found = shown()
    undeclared = [path for path, one in found.items() if one["state"] == "undeclared"]
    assert undeclared == list(found)[-len(undeclared) :]
    assert undeclared == ["vms/db/attach.sh", "vms/db/detach.sh", "vms/db/root.ext4"]


def test_a_target_may_be_a_vm_that_no_manifest_declares(project: Project, shown: Shown) -> None:
    project.write(f"{IMAGE}[vm.web]\nimage = 'debian'\n[vm.db]\nimage = 'debian'\n")
    project.build()
    project.write(f"{IMAGE}[vm.web]\nimage = 'debian'\n")
    assert shown.states("vm.db") == {"vms/db/root.cow": "undeclared"}
    assert set(shown.states("vm.d*", "vm.web")) == {
        "images/debian/rootfs.ext4",
        "vms/db/root.cow",
        "vms/web/root.cow",
    }
    with pytest.raises(UsageError) as caught:
        shown.states("vm.bd")
    assert caught.value.hint == "did you mean 'vm.db'?"


def test_a_disk_that_a_vm_no_longer_has_is_undeclared_as_long_as_it_is_there(
    project: Project, shown: Shown
) -> None:
    project.write(WEB)
    project.build()
    project.write(WEB.replace('work.size = "64MiB"', "work = false"))
    assert shown.states()["vms/web/work.ext4"] == "undeclared"
    (project.store / "vms/web/work.ext4").unlink()
    assert "vms/web/work.ext4" not in shown()


def test_an_undeclared_disk_may_be_called_patch(project: Project, shown: Shown) -> None:
    disk = '[[vm.web.disk]]\nname = "patch"\nsize = "16MiB"\nmount = "/data"\n'
    project.write(WEB + disk)
    project.build()
    (path,) = (path for path in shown() if "patch" in path)
    project.write(WEB)
    assert (shown()[path]["id"], shown.states()[path]) == ("vm.web.disk.patch", "undeclared")


def test_a_target_says_nothing_of_other_vms(project: Project, shown: Shown) -> None:
    project.write(WEB + DB)
    project.build()
    assert shown.states("vm.db") == {
        "images/debian/rootfs.ext4": "current",
        "vms/db/root.ext4": "current",
    }


def test_a_disk_that_somebody_has_open_is_in_use_whether_or_not_it_is_current(
    project: Project, shown: Shown
) -> None:
    project.write(WEB)
    project.build()
    with (project.store / "vms/web/work.ext4").open("rb"), project.image().open("rb"):
        found = shown()
        project.write(WEB.replace("64MiB", "128MiB"))
        stale = shown()
    assert {path for path, one in found.items() if one["in_use"]} == {"vms/web/work.ext4"}
    assert (stale["vms/web/work.ext4"]["state"], stale["vms/web/work.ext4"]["in_use"]) == ("stale", True)
    assert not shown()["vms/web/work.ext4"]["in_use"]


def test_the_table_is_read_by_columns(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    with (project.store / "vms/web/work.ext4").open("rb"):
        head, *rows = shown.printed("-v").splitlines()
    assert head.split() == ["STATE", "SIZE", "ALLOCATED", "ARTIFACT", "BASE"]
    (work,) = [row for row in rows if "work.ext4" in row]
    assert work.startswith("current, in use  64 MiB ")
    column = head.index("ARTIFACT")
    assert [row[column:].split()[0] for row in rows] == [one["path"] for one in shown().values()]
    assert all(row == row.rstrip() for row in rows)


def test_the_command_says_the_same_in_json(project: Project, shown: Shown) -> None:
    project.write(WEB + DB)
    project.build()
    document = json.loads(shown.printed("--json"))
    assert (document["format"], document["store"]) == (1, str(project.store))
    assert by_path(document["artifacts"]) == shown()
    document = json.loads(shown.printed("--json", "--target", "vm.db"))
    assert by_path(document["artifacts"]) == shown("vm.db")


def test_asking_leaves_the_store_as_it_is(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    before = looks(project)
    shown()
    assert looks(project) == before


def looks(project: Project) -> dict[Path, tuple[int, int, int]]:
    stats = {path: path.stat() for path in project.store.rglob("*")}
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns) for path, one in stats.items()}


def test_disks_that_are_changed_by_half_are_known_by_what_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "vms/web").mkdir(parents=True)
    for name in ("a.ext4", "a.ext4.redo", "b.ext4", "b.ext4.grow", "c.ext4", "root.cow", "root.cow.redo"):
        (tmp_path / "vms/web" / name).touch()
    assert status.by_half(tmp_path) == ["vms/web/a.ext4", "vms/web/b.ext4", "vms/web/root.cow"]


FAULTS: dict[str, Callable[[Path], object]] = {
    "marked with errors": lambda path: change_superblock(path, state=2),
    "no filesystem": remove_magic,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("root", ["", 'root.format = "raw"\n'], ids=["snapshot", "raw"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_in_no_good_order_is_not_current(
    project: Project, shown: Shown, root: str, fault: str
) -> None:
    project.write(WEB + root)
    project.build()
    path = project.store / "vms/web/work.ext4"
    FAULTS[fault](path)
    for _ in range(2):  # it is looked at as long as it is so
        assert shown()["vms/web/work.ext4"]["state"] in {"damaged", "blocked"}
    plan = project.plan()["vm.web.work"]
    assert "work.ext4" in " ".join(map(report.reason, plan.reasons))
    with opened_by_another(path):
        assert shown()["vms/web/work.ext4"]["state"] == "current"


def test_an_exception_store_that_the_kernel_gave_up_is_not_current(project: Project, shown: Shown) -> None:
    project.write(WEB)
    project.build()
    with project.cow().open("r+b") as file:
        file.seek(4)
        file.write(bytes(4))  # `valid` of dm-snapshot's header
    assert shown()["vms/web/root.cow"]["state"] in {"damaged", "blocked"}
    assert project.plan()["vm.web.root"].reasons
