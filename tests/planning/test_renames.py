"""A VM that is called something else moves with its disks, records and address; nothing is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import BusyError, LockFileError, ManifestError
from bangerbuild.model import Outcome, Reason, ReasonCode, Verb
from bangerbuild.model.request import RunOptions
from bangerbuild.planning.host import LocalHost
from bangerbuild.report import plan_json
from bangerbuild.store import database
from tests.drills.drill import copied
from tests.in_process import document, run
from tests.projects import DEBIAN, Project, write_tar
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.model import Action

HEAD = """\
[image.debian.rootfs]
tar = "root.tar"
size = "24MiB"
[network.lan]
subnet = "10.0.0.0/24"
[defaults]
image = "debian"
network.name = "lan"
guest = { sshd = false, network = false }
work = { size = "16MiB" }
"""
OLD = "[vm.first]\n[vm.old]\n"
NEW = '[vm.first]\n[vm.new]\nrenamed_from = ["older", "old"]\n'
DISKS = ("root.cow", "work.ext4")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two VMs; the guest of one has written to its root."""
    made = Project(tmp_path_factory.mktemp("built"))
    write_tar(made.directory / "root.tar", DEBIAN)
    made.write(HEAD + OLD)
    made.build()
    with made.as_guest("old") as disk:
        disk.write_file("/precious", b"not to be lost\n")
    made.write(HEAD + NEW)
    return made.directory


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Project:
    """A copy of the test's own."""
    return Project(copied(built, tmp_path / "project"))


def verbs(actions: Mapping[str, Action], vm: str) -> dict[str, Verb]:
    return {key: action.verb for key, action in actions.items() if key.startswith(f"vm.{vm}.")}


MOVED = {
    "vm.new.root": Verb.MOVE,
    "vm.new.root.patch": Verb.UPDATE,
    "vm.new.work": Verb.MOVE,
    "vm.new.work.patch": Verb.KEEP,
    "vm.new.launch": Verb.MOVE,
}


def inodes(project: Project, vm: str) -> list[int]:
    return [(project.store / "vms" / vm / name).stat().st_ino for name in DISKS]


def lock_lines(project: Project) -> list[str]:
    text = (project.directory / "bangerbuild.lock").read_text()
    return text.partition("[network.lan]\n")[2].splitlines()


def test_disks_records_and_address_move_and_only_the_name_is_patched(project: Project) -> None:
    before, there = inodes(project, "old"), lock_lines(project)
    plan = project.plan()
    assert verbs(plan, "new") == MOVED
    assert plan["vm.new.work"].reasons == (Reason(ReasonCode.RENAMED, {"old": "old"}),)
    changed = {diff.guest for diff in plan["vm.new.root.patch"].diffs}
    assert changed == {"/etc/hostname", "/etc/hosts"}
    assert set(verbs(plan, "first").values()) == {Verb.KEEP}
    results = project.apply()
    assert {results[key].outcome for key, verb in MOVED.items() if verb is not Verb.KEEP} == {Outcome.DONE}
    assert inodes(project, "new") == before
    assert not (project.store / "vms/old").exists()
    guest = project.guest("new")
    assert (guest.read("/precious"), guest.read("/etc/hostname")) == (b"not to be lost\n", b"new\n")
    assert lock_lines(project) == [there[0], there[1].replace("old", "new")]
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    opened = store.read(project.store)
    assert not [key for key in (*opened.records, *opened.stamps, *opened.origins) if "old" in key]


def test_the_summary_counts_what_moves(project: Project) -> None:
    made = pipeline.plan(pipeline.load_request(project.request()))
    assert plan_json(made)["summary"]["move"] == 3  # type: ignore[index,call-overload]
    assert made.undeclared == ()


def test_the_line_may_stay_and_means_nothing_without_the_old_vm(project: Project) -> None:
    project.build()
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    project.write(HEAD + NEW.replace("vm.new", "vm.third").replace('"old"', '"nobody"'))
    assert set(verbs(project.plan(), "third").values()) == {Verb.CREATE}


def test_where_both_are_there_nothing_is_done_about_the_new_one(project: Project) -> None:
    project.write(HEAD + "[vm.first]\n[vm.new]\n")
    project.build()
    project.write(HEAD + NEW)
    before = inodes(project, "old"), inodes(project, "new")
    plan = project.plan()
    assert set(verbs(plan, "new").values()) == {Verb.BLOCKED}
    (reason,) = plan["vm.new.root"].reasons
    assert (reason.code, reason.facts["old"], reason.facts["there"]) == (ReasonCode.RENAMED, "old", "new")
    assert "destroy --target vm.old" in str(reason.facts["hint"])
    project.apply()
    assert (inodes(project, "old"), inodes(project, "new")) == before


def test_what_lies_in_the_place_of_the_new_one_blocks_it(project: Project) -> None:
    (project.store / "vms/new").mkdir()
    (project.store / "vms/new/work.ext4").write_bytes(b"somebody's own")
    assert set(verbs(project.plan(), "new").values()) == {Verb.BLOCKED}


def test_while_a_disk_is_in_use_nothing_of_the_vm_is_touched(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inodes(project, "old")
    monkeypatch.chdir(project.directory)
    with opened_by_another(project.store / "vms/old/work.ext4"):
        plan = project.plan()
        held = {key for key, action in plan.items() if action.in_use}
        assert held == {key for key, verb in MOVED.items() if verb is not Verb.KEEP}
        assert run("apply", "-q")[0] == 4
        assert inodes(project, "old") == before
        assert set(verbs(project.plan(), "new")) == set(MOVED)
    assert run("apply", "-q")[0] == 0
    assert inodes(project, "new") == before


def test_a_vm_that_is_started_after_the_plan_is_not_moved(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    holders = iter([None, None, "a VM", "a VM"])
    monkeypatch.setattr(LocalHost, "holder", lambda *_: next(holders, "a VM"))
    with pytest.raises(BusyError, match=r"'vm\.old' is in use by a VM now"):
        pipeline.apply(pipeline.load_request(project.request()), options=RunOptions(lock_seconds=0))
    assert (project.store / "vms/old/root.cow").exists()


def test_what_was_renamed_but_not_recorded_is_recorded_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(database, "move", killed)
    with pytest.raises(KeyboardInterrupt):
        project.apply()
    monkeypatch.undo()
    seen = store.read(project.store)
    assert "vm.new.root" in seen.records
    assert "vms/new/root.cow" in seen.stamps
    assert seen.ledger("vm.new.work.patch") is not None
    assert verbs(project.plan(), "new")["vm.new.root"] is Verb.KEEP
    project.build()
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    assert project.guest("new").read("/precious") == b"not to be lost\n"


def test_what_was_intended_and_not_renamed_is_as_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store.Store, "_move_directory", killed)
    with pytest.raises(KeyboardInterrupt):
        project.apply()
    monkeypatch.undo()
    assert "vm.old.root" in store.read(project.store).records
    assert verbs(project.plan(), "new") == MOVED
    project.build()
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_a_directory_on_another_drive_stays_there(project: Project, tmp_path: Path) -> None:
    place = project.store / "vms/old"
    place.rename(tmp_path / "drive")
    place.symlink_to(tmp_path / "drive")
    project.build()
    assert (project.store / "vms/new").readlink() == tmp_path / "drive"
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_an_undeclared_vm_that_is_to_be_renamed_is_not_removed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.directory)
    states = {one["path"]: one["state"] for one in document("status")["artifacts"]}
    assert (states["vms/old/root.cow"], states["vms/new/root.cow"]) == ("renamed", "missing")
    assert run("destroy", "--undeclared", "--yes") == (0, "Nothing is undeclared.\n")
    assert (project.store / "vms/old/root.cow").exists()


BAD = {
    '[vm.old]\n[vm.new]\nrenamed_from = "old"': "'old' is still declared, in vm.old (vm.toml:11)",
    '[vm.new]\nrenamed_from = "new"': "'new' is the VM's own name",
    '[vm.a]\nrenamed_from = "old"\n[vm.b]\nrenamed_from = "old"': "'old' became vm.a already, in vm.a",
    '[vm.a]\nrenamed_from = "No Name"': "renamed_from is 'No Name': give the name of a VM",
    "[vm.a]\nrenamed_from = [1]": "renamed_from[0] is 1: give at most 63 of",
}


@pytest.mark.parametrize("text", BAD)
def test_what_can_not_be_meant_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "vm.toml").write_text(HEAD + text)
    with pytest.raises(ManifestError) as caught:
        pipeline.load(["vm.toml"])
    (problem,) = caught.value.problems
    assert BAD[text] in problem.message
    assert problem.line == (HEAD + text).count("\n") + 1
    assert project.store == tmp_path / "build"


def test_members_of_a_fleet_are_renamed_by_a_template(project: Project) -> None:
    fleet = (
        '[fleet.f]\nnames = "new-{1..2}"\n[fleet.f.vm]\nrenamed_from = ["old-{{ index }}", "{{ name }}x"]\n'
    )
    project.write(HEAD + fleet)
    found = pipeline.load_request(project.request()).manifest
    assert [vm.renamed_from for vm in found.vms.values()] == [("old-1", "new-1x"), ("old-2", "new-2x")]


def test_with_locked_no_lease_is_taken_over(project: Project) -> None:
    loaded = pipeline.load([project.directory / "vm.toml"], locked=True)
    with pytest.raises(LockFileError, match="would have to be changed"):
        pipeline.plan(loaded)
    address = lock_lines(project)[1].split('"')[1]
    project.write(HEAD + f'{NEW}network.address = "{address}/24"\n')
    loaded = pipeline.load([project.directory / "vm.toml"], locked=True)
    with pytest.raises(LockFileError, match="the address of VMs that have another now, or another name: old"):
        pipeline.plan(loaded)
