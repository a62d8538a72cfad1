"""A lost or damaged database costs nothing: disks stay byte for byte, and the plan is what it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import store
from bangerbuild.commands import destroy, gc, recover
from bangerbuild.errors import BusyError, SourceError, StoreError
from bangerbuild.model import Verb
from bangerbuild.pipeline import locking
from bangerbuild.store.locks import StoreLock
from tests.need import need
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, new_base
from tests.stores import copied, opened_by_another

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.commands.recover import Recovery
    from tests.conftest import CommandLine

WEB = """\
[vm.web]
image = "debian"
work.size = "16MiB"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
[[vm.web.file_sync]]
host = "site"
guest = "/srv/site"
[[vm.web.file]]
guest = "~/notes"
content = "mine\\n"
"""
DB = """\
[vm.db]
image = "debian"
root.format = "raw"
[[vm.db.disk]]
name = "data"
size = "16MiB"
mount = "/data"
"""
STEPS = {
    "image.debian.rootfs",
    *(f"vm.web.{part}" for part in ("root", "root.patch", "work", "work.patch", "launch")),
    *(f"vm.db.{part}" for part in ("root", "root.patch", "disk.data", "disk.data.patch", "launch")),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two VMs, whose guests have written to their disks."""
    project = Project(tmp_path_factory.mktemp("built"))
    write_tar(project.directory / "root.tar", DEBIAN)
    (project.directory / "site/sub").mkdir(parents=True)
    (project.directory / "site/sub/index.html").write_text("hello\n")
    project.write(IMAGE + WEB + DB)
    project.build()
    with project.as_guest() as disk:
        disk.write_file("/precious", b"the guest's")
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for name in ("root.tar", "site", "vm.toml", "build"):
        copied(built.directory / name, tmp_path / name)
    return made


def digests(project: Project) -> dict[str, str]:
    """SHA-256 of all that lies below `images` and `vms`."""
    return {
        str(path.relative_to(project.store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in ("images", "vms")
        for path in sorted((project.store / top).rglob("*"))
        if path.is_file()
    }


def lose(project: Project) -> None:
    for path in project.store.glob("state.db*"):
        path.unlink()


def recovered(project: Project) -> Recovery:
    return recover.recover(project.request(), lambda _: None, lock_seconds=0)


def found(recovery: Recovery) -> set[str]:
    return {job.records[0].id for job in recovery.jobs}


def actions(project: Project) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    return {
        step_id: (action.verb.value, [reason.to_json() for reason in action.reasons])
        for step_id, action in project.plan().items()
    }


KEPT: dict[str, tuple[str, list[dict[str, Any]]]] = dict.fromkeys(STEPS, ("keep", []))


def test_until_it_is_run_every_other_command_refuses_and_changes_nothing(project: Project) -> None:
    lose(project)
    before = digests(project)
    request = replace(project.request(), targets=("vm.web",))
    attempts: tuple[Callable[[], object], ...] = (
        project.plan,
        project.apply,
        lambda: gc.collect(project.request(), lambda _: None, dry_run=False, lock_seconds=0),
        lambda: gc.collect(project.request(), lambda _: None, dry_run=True, lock_seconds=0),
        lambda: destroy.destroy(request, lambda _: True, lambda _: None, lock_seconds=0),
    )
    for _ in range(2):
        for attempt in attempts:
            with pytest.raises(StoreError, match="has artifacts and no records of them") as caught:
                attempt()
            assert str(caught.value.hint).startswith("`bangerbuild recover`")
    assert digests(project) == before


@pytest.mark.parametrize(
    "words",
    [
        "image ls",
        "image show debian",
        "destroy --undeclared --yes",
        "destroy --target vm.gone --yes",
        "status",
        "boot web --no-apply -d",
        "ls build/vms/web/root.cow /etc",
    ],
)
def test_where_all_records_are_lost_every_command_says_what_makes_them_again(
    project: Project, cli: CommandLine, words: str
) -> None:
    lose(project)
    ended = cli(*words.split(), cwd=project.directory)
    assert ended.returncode == 1, ended
    assert "has artifacts and no records of them" in ended.stderr
    assert "`bangerbuild recover` makes records of what lies in the store" in ended.stderr


def test_a_lost_database_is_made_again_and_nothing_is_left_to_do(project: Project) -> None:
    before = digests(project)
    lose(project)
    recovery = recovered(project)
    assert (recovery.database, recovery.set_aside, recovery.unrecovered) == ("missing", None, ())
    assert found(recovery) == STEPS
    assert digests(project) == before
    assert actions(project) == KEPT
    project.build()
    assert digests(project) == before


def test_what_a_guest_changed_of_its_declared_files_is_what_the_plan_then_says(project: Project) -> None:
    with project.as_guest() as disk:
        disk.write_file("/etc/app.conf", b"port = 81\n")
    lose(project)
    recovered(project)
    assert actions(project) == {
        **KEPT,
        "vm.web.root.patch": ("update", [{"code": "file-differs", "guest": "/etc/app.conf"}]),
    }
    project.build()
    guest = project.guest()
    guest.assert_clean()
    assert guest.text("/etc/app.conf") == "port = 80\n"
    assert guest.text("/precious") == "the guest's"


def test_a_root_is_its_guests_and_stays_on_the_image_that_its_header_names(project: Project) -> None:
    old = project.base()
    new_base(project, DEBIAN)
    project.build()
    assert project.image() != old
    before = digests(project)
    lose(project)
    recovered(project)
    assert project.base() == old
    verb, reasons = actions(project)["vm.web.root"]
    assert verb == "blocked"
    assert [reason["code"] for reason in reasons] == ["input-changed", "guest-wrote"]
    gc.collect(project.request(), lambda _: None, dry_run=False, lock_seconds=0)
    assert digests(project) == before


def test_a_root_whose_image_is_gone_is_blocked_with_the_image_named(project: Project) -> None:
    new_base(project, DEBIAN)
    base = project.base()
    base.unlink()
    lose(project)
    recovered(project)
    verb, reasons = actions(project)["vm.web.root"]
    assert verb == "blocked"
    assert {"code": "base-unknown", "missing": str(base.relative_to(project.store))} in reasons


def test_a_store_without_the_name_of_its_image_is_named_and_left_alone(project: Project) -> None:
    with project.cow().open("r+b") as file:
        file.seek(16)
        file.write(bytes(8))
    before = digests(project)
    lose(project)
    (unknown,) = recovered(project).unrecovered[:1]
    assert unknown.path == "vms/web/root.cow"
    assert unknown.why == "its header does not say which image it stands on"
    assert actions(project)["vm.web.root"] == ("blocked", [{"code": "base-unknown"}])
    project.apply()
    assert digests(project) == before


def test_a_header_that_names_a_path_outside_the_store_is_not_believed(project: Project) -> None:
    with project.cow().open("r+b") as file:
        file.seek(24)
        file.write(len(b"../secret.ext4").to_bytes(2, "little") + b"../secret.ext4")
    lose(project)
    (unknown,) = recovered(project).unrecovered[:1]
    assert "'../secret.ext4' is no path of an artifact" in unknown.why


def test_vms_that_no_manifest_declares_are_known_again(project: Project) -> None:
    project.write(IMAGE + DB)
    before = digests(project)
    lose(project)
    assert {name for name in found(recovered(project)) if name.startswith("vm.web.")} == {
        "vm.web.root",
        "vm.web.work",
        "vm.web.launch",
    }
    project.write("")
    gc.collect(project.request(), lambda _: None, dry_run=False, lock_seconds=0)
    assert {path for path in before if "vms/web" in path} <= digests(project).keys()
    project.write(IMAGE + WEB + DB)
    recovered(project)
    assert {verb for verb, _ in actions(project).values()} <= {"keep", "update"}
    request = replace(project.request(), targets=("vm.web",))
    assert destroy.destroy(request, lambda _: True, lambda _: None, lock_seconds=0) is not None
    assert not (project.store / "vms/web").exists()


def damage_bytes(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def damage_pages(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[16384:] = bytes(len(data) - 16384)
    path.write_bytes(data)


def damage_row(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE records SET body = '{}' WHERE id = 'vm.web.root'")


def damage_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE stamps")


@pytest.mark.parametrize("damage", [damage_bytes, damage_pages, damage_row, damage_table])
def test_a_damaged_database_is_set_aside_and_what_can_be_read_of_it_is_kept(
    project: Project, damage: Callable[[Path], None]
) -> None:
    before = digests(project)
    damage(project.store / "state.db")
    content = (project.store / "state.db").read_bytes()
    with pytest.raises(StoreError) as caught:
        project.plan()
    assert "`bangerbuild recover`" in str(caught.value.hint)
    recovery = recovered(project)
    assert recovery.database == "damaged"
    assert recovery.faults != ()
    assert recovery.set_aside == project.store / "state.db.damaged"
    assert recovery.set_aside.read_bytes() == content
    assert digests(project) == before
    assert {verb for verb, _ in actions(project).values()} == {"keep"}
    project.build()
    assert digests(project) == before


def test_one_damaged_row_costs_that_record_alone(project: Project) -> None:
    damage_row(project.store / "state.db")
    recovery = recovered(project)
    assert found(recovery) == {"vm.web.root"}
    assert len(recovery.faults) == 1


def test_where_nothing_is_lost_nothing_is_found(project: Project) -> None:
    before = store.read(project.store).records
    recovery = recovered(project)
    assert (recovery.database, found(recovery), recovery.unrecovered) == ("sound", set(), ())
    assert store.read(project.store).records == before
    assert actions(project) == KEPT


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    write_tar(tmp_path / "root.tar", DEBIAN)
    project = Project(tmp_path)
    project.write(IMAGE)
    assert found(recovered(project)) == set()
    assert not project.store.exists()


def test_a_disk_in_use_is_left_out_until_it_is_free(project: Project) -> None:
    lose(project)
    with opened_by_another(project.cow()):
        recovery = recovered(project)
    assert [one.path for one in recovery.unrecovered] == ["vms/web/root.cow"]
    assert "in use by" in recovery.unrecovered[0].why
    assert not {name for name in found(recovery) if name.startswith("vm.web.root")}
    recovered(project)
    assert actions(project) == KEPT


def test_it_waits_for_others_in_the_store(project: Project) -> None:
    with StoreLock(project.store / ".locks/store", 0, "it", shared=True), pytest.raises(BusyError):
        recovered(project)


def test_an_error_on_the_way_leaves_the_damaged_database_where_it_is(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise SourceError("the registry does not answer")

    damage_bytes(project.store / "state.db")
    before = (project.store / "state.db").read_bytes()
    monkeypatch.setattr(locking, "resolve", unreachable)
    with pytest.raises(SourceError):
        recovered(project)
    assert (project.store / "state.db").read_bytes() == before
    assert not list(project.store.glob("state.db.*"))


def test_the_command_says_in_words_and_in_json_what_it_found(project: Project, cli: CommandLine) -> None:
    damage_bytes(project.store / "state.db")
    done = cli("recover", "--json", cwd=project.directory)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {one["id"] for one in document["recovered"]} == STEPS
    assert (document["format"], document["database"], document["known"]) == (1, "damaged", 0)
    assert document["set_aside"] == str(project.store / "state.db.damaged")
    assert document["faults"] == ["file is not a database"]
    base = str(project.base().relative_to(project.store))
    (root,) = (one for one in document["recovered"] if one["id"] == "vm.web.root")
    assert (root["artifacts"], root["base"]) == (["vms/web/root.cow"], base)
    lose(project)
    done = cli("recover", cwd=project.directory)
    assert f"vms/web/root.cow on {base}" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "11 records made of what lies in the store, 0 known before, 0 of which nothing can be told."
    )
    assert store.read(project.store).records.keys() >= STEPS


def test_a_root_of_another_format_that_was_left_beside_takes_no_roots_place(project: Project) -> None:
    text = (project.directory / "vm.toml").read_text()
    raw = text.replace('image = "debian"\nwork', 'image = "debian"\nroot.format = "raw"\nwork')
    project.write(raw)
    project.build("vm.web.root")
    lose(project)
    assert (project.store / "vms/web/root.cow").exists()
    recovered(project)
    assert project.artifact("vm.web.root").name == "root.ext4"
    assert actions(project) == KEPT


def test_of_two_images_with_the_same_bytes_a_raw_root_is_of_the_one_that_is_declared(
    project: Project,
) -> None:
    text = (project.directory / "vm.toml").read_text()
    again = IMAGE.replace("[image.debian", "[image.again")
    project.write(again + text + '[vm.raw]\nimage = "again"\nroot.format = "raw"\n')
    project.build()
    assert (
        len({path.name for path in (project.store / "images").glob("*/*") if (path / "rootfs.ext4").exists()})
        == 1
    )
    kept = actions(project)
    lose(project)
    assert not recovered(project).unrecovered
    assert str(project.facts("vm.raw.root")["base"]).startswith("images/again/")
    assert str(project.facts("vm.db.root")["base"]).startswith("images/debian/")
    assert actions(project) == kept


def test_a_raw_root_that_is_no_images_copy_is_said_and_taken_over_as_it_is(project: Project) -> None:
    root = project.store / "vms/db/root.ext4"
    subprocess.run([need("tune2fs", "e2fsprogs"), "-U", "random", root], check=True, capture_output=True)
    lose(project)
    before = root.read_bytes()
    (said,) = recovered(project).unrecovered
    assert said.path == "vms/db/root.ext4"
    assert "no image in the store is known to be the one it was made from" in said.why
    assert root.read_bytes() == before
    assert project.plan()["vm.db.root"].verb is Verb.ADOPT
