from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pexpect
import pytest

from bangerbuild import store
from bangerbuild.commands import destroy, verify
from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.disk import redo_log, transaction
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import BusyError, LockFileError, StoreError, UsageError
from bangerbuild.model import Verb
from bangerbuild.model.request import RunOptions
from bangerbuild.store.locks import StoreLock
from tests import PROJECT
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, as_guest
from tests.stores import copied, files, killed_after, lose_records, opened_by_another
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.commands.destroy import Loss
    from tests.conftest import CommandLine

WEB = '[vm.web]\nimage = "debian"\nwork.size = "16MiB"\n'
DB = """\
[vm.db]
image = "debian"
root.format = "raw"
work = false
[[vm.db.disk]]
name = "data"
size = "16MiB"
mount = "/data"
"""
WEB_FILES = {"attach.sh", "detach.sh", "root.cow", "work.ext4"}


@dataclass
class Destroyed:
    """Destroys in a project, and remembers what was asked and said."""

    project: Project
    answer: bool = True
    meanwhile: Callable[[], object] = lambda: None
    asked: list[Loss] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __call__(self, *targets: str) -> set[str] | None:
        """The artifacts that went."""
        request = replace(self.project.request(), targets=targets)
        loss = destroy.destroy(request, self._agree, self.warnings.append, lock_seconds=0)
        return None if loss is None else {item.artifact for item in loss.items}

    def _agree(self, loss: Loss) -> bool:
        self.asked.append(loss)
        self.meanwhile()
        return self.answer


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM on a snapshot with a work disk, one on a raw disk with a data disk; built."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    made = Project(tmp_path)
    made.write(IMAGE + WEB + DB)
    made.build()
    return made


@pytest.fixture
def destroyed(project: Project) -> Destroyed:
    return Destroyed(project)


def of_vm(project: Project, vm: str) -> set[str]:
    """The names in a VM's directory."""
    directory = project.store / "vms" / vm
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def remembered(project: Project, owner: str) -> set[str]:
    """Records, stamps and written files of a VM or an image."""
    known = store.read(project.store)
    directory = owner.replace(".", "s/", 1)
    stamps = {path for path in known.stamps if path.startswith(f"{directory}/")}
    records = {name for name in known.records if name.startswith(f"{owner}.")}
    return records | stamps | {step_id for step_id in (f"{owner}.root.patch",) if known.ledger(step_id)}


def assert_sound(project: Project) -> None:
    _, checks = verify.verify(
        project.request(), RunOptions(2, lock_seconds=0), lambda _: None, lambda _: None
    )
    assert {check.result for check in checks} == {CheckResult.OK}


class TestVm:
    def test_a_vm_goes_with_all_that_is_remembered_of_it_and_nothing_else_does(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        before = files(project.store)
        assert destroyed("vm.web") == {f"vms/web/{name}" for name in WEB_FILES}
        assert not (project.store / "vms/web").exists()
        assert remembered(project, "vm.web") == set()
        assert files(project.store) == {
            path: value for path, value in before.items() if not path.startswith("vms/web/")
        }
        assert_sound(project)
        assert destroyed.warnings == []

    def test_the_next_apply_makes_a_declared_one_anew(self, project: Project, destroyed: Destroyed) -> None:
        with project.as_guest() as root:
            root.write_file("/own", b"a guest's")
        destroyed("vm.web")
        verbs = {step_id: action.verb for step_id, action in project.plan().items()}
        assert verbs["vm.web.root"] is verbs["vm.web.work"] is verbs["vm.web.launch"] is Verb.CREATE
        project.build()
        assert not project.guest().exists("/own")
        assert_sound(project)

    def test_a_vm_that_no_manifest_declares(self, project: Project, destroyed: Destroyed) -> None:
        project.write(IMAGE + DB)
        assert destroyed("vm.web") == {f"vms/web/{name}" for name in WEB_FILES}
        assert remembered(project, "vm.web") == set()

    def test_a_declared_vm_that_no_record_knows(self, project: Project, destroyed: Destroyed) -> None:
        lose_records(project.store)
        assert destroyed("vm.web") == {f"vms/web/{name}" for name in WEB_FILES}

    def test_two_at_once(self, project: Project, destroyed: Destroyed) -> None:
        destroyed("vm.web", "vm.db")
        assert list((project.store / "vms").iterdir()) == []

    def test_what_an_earlier_manifest_made_of_it(self, project: Project, destroyed: Destroyed) -> None:
        project.write(IMAGE + WEB + 'root.format = "raw"\n' + DB)
        project.build()
        assert of_vm(project, "web") == {*WEB_FILES, "root.ext4"}
        destroyed("vm.web")
        assert of_vm(project, "web") == set()
        assert remembered(project, "vm.web") == set()

    def test_what_lies_beside_a_disk_that_was_changed_by_half(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        for name in ("root.cow.redo", "work.ext4.grow", "work.ext4.undo"):
            (project.store / "vms/web" / name).touch()
        destroyed("vm.web")
        assert not (project.store / "vms/web").exists()

    def test_what_somebody_else_keeps_there_stays_and_is_named(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        (project.store / "vms/web/notes.txt").write_text("mine\n")
        destroyed("vm.web")
        assert of_vm(project, "web") == {"notes.txt"}
        assert destroyed.warnings == [
            f"'{project.store}/vms/web' stays: what else is in it was not made here (notes.txt)"
        ]

    def test_a_device_link_of_before_a_reboot_goes_too(self, project: Project, destroyed: Destroyed) -> None:
        (project.store / "vms/web/root.dev").symlink_to("/dev/mapper/gone")
        destroyed("vm.web")
        assert not (project.store / "vms/web").exists()

    def test_a_symlink_in_place_of_its_directory_is_named_and_nothing_is_removed_behind_it(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        directory, elsewhere = project.store / "vms/web", project.directory / "elsewhere"
        directory.rename(elsewhere)
        directory.symlink_to(elsewhere)
        with pytest.raises(StoreError, match=f"'{directory}' is a symlink to '{elsewhere}'"):
            destroyed("vm.web")
        assert {path.name for path in elsewhere.iterdir()} == WEB_FILES
        assert remembered(project, "vm.web") != set()

    def test_what_is_gone_already_is_nothing_to_ask_about(self, destroyed: Destroyed) -> None:
        destroyed("vm.web")
        destroyed.asked.clear()
        assert destroyed("vm.web") == set()
        assert destroyed.asked == []


class TestDisk:
    def test_one_disk_goes_with_its_patch_and_the_others_stay(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        assert destroyed("vm.web.work") == {"vms/web/work.ext4"}
        assert of_vm(project, "web") == WEB_FILES - {"work.ext4"}
        assert {name for name in remembered(project, "vm.web") if "work" in name} == set()
        assert {step_id for step_id, action in project.plan().items() if action.verb is not Verb.KEEP} == {
            "vm.web.work",
            "vm.web.work.patch",
        }

    def test_a_data_disk_that_is_called_patch(self, project: Project, destroyed: Destroyed) -> None:
        project.write(IMAGE + WEB + DB.replace('"data"', '"patch"'))
        project.build()
        assert destroyed("vm.db.disk.patch") == {"vms/db/patch.ext4"}
        assert destroyed("vm.db.disk.data") == {"vms/db/data.ext4"}


class TestAsking:
    def test_what_goes_is_told_with_sizes_and_whose_it_is(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        sizes = {path.name: path.stat().st_blocks * 512 for path in (project.store / "vms/web").iterdir()}
        destroyed.answer = False
        assert destroyed("vm.web") is None
        (loss,) = destroyed.asked
        assert {item.artifact: item.size_bytes for item in loss.items} == {
            f"vms/web/{name}": size for name, size in sizes.items()
        }
        assert loss.size_bytes == sum(sizes.values())
        assert {item.artifact for item in loss.items if item.guests} == {"vms/web/work.ext4"}

    def test_a_root_that_a_guest_has_written_to_is_a_guests(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        with project.as_guest() as root:
            root.write_file("/own", b"a guest's")
        destroyed("vm.web.root")
        assert [item.guests for item in destroyed.asked[0].items] == [True]

    def test_whoever_says_no_loses_nothing(self, project: Project, destroyed: Destroyed) -> None:
        before, known = files(project.store), remembered(project, "vm.web")
        destroyed.answer = False
        destroyed("vm.web")
        assert files(project.store) == before
        assert remembered(project, "vm.web") == known


class TestInUse:
    def test_a_disk_in_use_keeps_everything_where_it_is(self, project: Project, destroyed: Destroyed) -> None:
        before, known = files(project.store), remembered(project, "vm.web")
        with (
            opened_by_another(project.store / "vms/web/work.ext4") as pid,
            pytest.raises(
                BusyError, match=rf"'vms/web/work\.ext4' is in use by .*{pid}.*nothing was removed"
            ),
        ):
            destroyed("vm.web", "vm.db")
        assert destroyed.asked == []
        assert files(project.store) == before
        assert remembered(project, "vm.web") == known

    def test_a_vm_that_is_started_while_somebody_thinks_about_it_keeps_all_too(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        before = files(project.store)
        with ExitStack() as stack:
            vm = opened_by_another(project.store / "vms/web/work.ext4")
            destroyed.meanwhile = lambda: stack.enter_context(vm)
            with pytest.raises(BusyError, match="in use by"):
                destroyed("vm.web")
        assert files(project.store) == before

    def test_a_vm_that_an_apply_works_on_is_waited_for_in_vain(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        with StoreLock(project.store / ".locks/vm.web", 0, "it"):
            with pytest.raises(BusyError, match=r"'vm\.web' is locked by process"):
                destroyed("vm.web")
            destroyed("vm.db")
        assert of_vm(project, "web") == WEB_FILES
        assert of_vm(project, "db") == set()

    def test_a_lock_file_that_can_not_be_read_is_told_before_anything_goes(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        lock_file = project.directory / "bangerbuild.lock"
        lock_file.unlink(missing_ok=True)
        os.mkfifo(lock_file)
        with pytest.raises(LockFileError, match="can't be used: no regular file"):
            destroyed("vm.web")
        assert of_vm(project, "web") == WEB_FILES

    def test_an_image_goes_only_while_nobody_can_build_on_it(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        destroyed("vm.web", "vm.db")
        with store.writing(project.store, timeout_seconds=0), pytest.raises(BusyError, match="is locked"):
            destroyed("image.debian")
        assert project.image().exists()


class TestImage:
    def test_an_image_that_something_stands_on_stays(self, project: Project, destroyed: Destroyed) -> None:
        before = files(project.store)
        with pytest.raises(StoreError, match=r"rootfs\.ext4' is needed by vm\.db, vm\.web") as caught:
            destroyed("image.debian")
        assert caught.value.hint == "bangerbuild destroy --target vm.db, before it or along with it"
        with pytest.raises(StoreError, match=r"is needed by vm\.web$"):
            destroyed("image.debian.rootfs", "vm.db")
        assert files(project.store) == before
        assert destroyed.asked == []

    def test_an_image_goes_along_with_all_that_stands_on_it(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        destroyed("image.debian", "vm.db", "vm.web")
        assert [item.artifact.split("/")[0] for item in destroyed.asked[0].items] == [*["vms"] * 8, "images"]
        assert files(project.store) == {}
        assert list((project.store / "images").iterdir()) == []
        assert remembered(project, "image.debian") == set()

    def test_an_image_that_nothing_stands_on_goes_with_its_old_versions(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "new\n"})
        project.build()
        destroyed("vm.web", "vm.db")
        gone = destroyed("image.debian.rootfs")
        assert gone is not None
        assert len(gone) == 2
        assert files(project.store) == {}

    def test_an_image_stays_while_a_store_is_there_that_might_stand_on_it(
        self, project: Project, destroyed: Destroyed
    ) -> None:
        lose_records(project.store)
        with pytest.raises(StoreError, match=r"no record says which image 'vms/web/root\.cow' stands on"):
            destroyed("image.debian")
        assert project.cow().exists()
        assert list(project.store.glob("images/*/*/rootfs.ext4"))


class TestBadInput:
    @pytest.mark.parametrize(
        ("target", "message", "hint"),
        [
            ("vm.wbe", "no step is called 'vm.wbe'", "did you mean 'vm.web'?"),
            ("web", "--target web names no VM, image or step", "--target vm.web"),
            ("vm", "--target vm names no VM, image or step", "--target vm.NAME"),
            ("image", "--target image names no VM, image or step", "--target image.NAME"),
            ("vm.web.work.patch", "vm.web.work.patch changes a disk and makes none", "--target vm.web.work"),
            ("vm.web.", "no step is called 'vm.web.'", "did you mean 'vm.web'?"),
        ],
    )
    def test_a_target_that_names_nothing_to_remove(
        self, project: Project, destroyed: Destroyed, target: str, message: str, hint: str
    ) -> None:
        before = files(project.store)
        with pytest.raises(UsageError) as caught:
            destroyed("vm.db", target)
        assert (caught.value.brief, caught.value.hint) == (message, hint)
        assert files(project.store) == before

    def test_a_manifest_that_is_wrong(self, project: Project, destroyed: Destroyed) -> None:
        project.write("[vm.web]\n")
        assert destroyed("vm.web") == {f"vms/web/{name}" for name in WEB_FILES}
        assert of_vm(project, "web") == set()

    def test_a_store_that_is_not_there_is_not_made(self, project: Project, destroyed: Destroyed) -> None:
        shutil.rmtree(project.store)
        assert destroyed("vm.web") == set()
        assert not project.store.exists()


class TestKill:
    """What is left after a kill is still known: the next call removes it, or the next apply completes it."""

    def test_at_any_file(
        self, project: Project, destroyed: Destroyed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with as_guest(project.store / "vms/web/work.ext4") as work:
            work.write_file("/own", b"a guest's")
        before = copied(project.store, tmp_path / "before")
        calls, ended = 0, False
        while not ended:
            copied(before, project.store)
            ended = killed_after(calls, lambda: destroyed("vm.web"), monkeypatch)
            calls += 1
            assert ended or len(of_vm(project, "web")) == len(WEB_FILES) - calls + 1
            half = copied(project.store, tmp_path / "half")
            destroyed("vm.web")
            assert (of_vm(project, "web"), remembered(project, "vm.web")) == (set(), set())
            copied(half, project.store)
            assert not {Verb.ADOPT, Verb.BLOCKED} & {action.verb for action in project.plan().values()}
            project.build()
            assert_sound(project)
        assert calls == len(WEB_FILES) + 1

    def test_a_disk_that_was_changed_by_half_is_never_without_what_mends_it(
        self, project: Project, destroyed: Destroyed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = project.store / "vms/web/work.ext4"
        with monkeypatch.context() as patch:
            patch.setattr(transaction.Transaction, "_write_or_restore", lambda *_: None)
            patch.setattr(redo_log, "remove", lambda _: None)
            with Transaction(work, "work") as blocks:
                blocks.write(8 << 20, b"x" * 4096)
                blocks.flush()
        log = redo_log.path_beside(work)
        assert log.exists()
        seen, calls, ended = set(), 0, False
        while not ended:
            ended = killed_after(calls, lambda: destroyed("vm.web.work"), monkeypatch)
            seen.add((work.exists(), log.exists()))
            calls += 1
        assert (True, False) not in seen
        assert (False, False) in seen


class TestCommand:
    def test_without_a_terminal_it_says_what_would_go_and_needs_yes(
        self, cli: CommandLine, project: Project
    ) -> None:
        before = files(project.store)
        done = cli("destroy", "--target", "vm.web", cwd=project.directory)
        assert (done.returncode, done.stdout) == (3, "")
        assert "vms/web/work.ext4" in done.stderr
        assert "hint: say --yes" in done.stderr
        assert files(project.store) == before
        done = cli("destroy", "--target", "vm.web", "--yes", cwd=project.directory)
        assert done.returncode == 0
        assert done.stdout.startswith("4 artifacts of vm.web removed, ")
        assert "  vms/web/root.cow " in done.stderr
        assert cli("destroy", "--target", "vm.web", "--yes", cwd=project.directory).stdout == (
            "Nothing is left of vm.web.\n"
        )

    @pytest.mark.parametrize(
        ("answer", "code", "left"), [("y", 0, set()), ("", 1, WEB_FILES), ("n", 1, WEB_FILES)]
    )
    def test_on_a_terminal_it_asks(self, project: Project, answer: str, code: int, left: set[str]) -> None:
        arguments = ["-m", "bangerbuild", "destroy", "--target", "vm.web"]
        child = pexpect.spawn(
            sys.executable,
            arguments,
            cwd=project.directory,
            encoding="utf-8",
            timeout=PATIENCE_SECONDS,
            env=environment(),
        )
        child.expect(r"vms/web/work\.ext4 .* a guest's")
        child.expect(r"Remove this, .*, for good\? \[y/N\]: ")
        child.sendline(answer)
        said = child.read()
        child.close()
        assert child.exitstatus == code
        assert ("nothing was removed" in said) == bool(code)
        assert of_vm(project, "web") == left

    def test_a_target_must_be_named(self, cli: CommandLine, project: Project) -> None:
        done = cli("destroy", "--yes", cwd=project.directory)
        assert (done.returncode, done.stdout) == (3, "")
        assert "--target" in done.stderr

    def test_a_disk_in_use_is_exit_code_4(self, cli: CommandLine, project: Project) -> None:
        with opened_by_another(project.cow()):
            done = cli("destroy", "--target", "vm.web", "--yes", cwd=project.directory)
        assert (done.returncode, done.stdout) == (4, "")
        assert "nothing was removed" in done.stderr
        assert of_vm(project, "web") == WEB_FILES

    def test_an_image_that_is_needed_is_exit_code_1(self, cli: CommandLine, project: Project) -> None:
        done = cli("destroy", "--target", "image.debian", "--yes", cwd=project.directory)
        assert (done.returncode, done.stdout) == (1, "")


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)}
