from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import store
from bangerbuild.commands import gc, verify
from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.errors import BusyError, ToolError
from bangerbuild.model import Verb
from bangerbuild.model.request import RunOptions
from bangerbuild.planning import host
from bangerbuild.store.locks import StoreLock
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE
from tests.stores import allocated, copied, files, killed_after, lose_records, opened_by_another, short

if TYPE_CHECKING:
    from tests.conftest import CommandLine

SEED = '[image.debian.work_seed]\ndirectory = "skel"\nsize = "16MiB"\n'
WEB = '[vm.web]\nimage = "debian"\nwork.size = "32MiB"\n'
DB = '[vm.db]\nimage = "debian"\nroot.format = "raw"\nwork = false\n'
KERNEL = '[image.debian]\nkernel = "vmlinuz"\n'
OTHER = '[image.other.rootfs]\ndirectory = "skel"\nsize = "16MiB"\n'


@dataclass
class Collected:
    """Collects in a project, and remembers what was said."""

    project: Project
    warnings: list[str] = field(default_factory=list)

    def __call__(self, *, dry_run: bool = False) -> dict[str, str]:
        """What went and why, by path; fingerprints left out."""
        return {short(f"{waste.path}/")[:-1]: waste.why for waste in self.wastes(dry_run=dry_run)}

    def wastes(self, *, dry_run: bool = False) -> tuple[gc.Waste, ...]:
        return gc.collect(self.project.request(), self.warnings.append, dry_run=dry_run, lock_seconds=0)[1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM on a snapshot with a work disk cloned from a seed, one on a raw disk; built."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "skel").mkdir()
    (tmp_path / "skel/.profile").write_text("umask 022\n")
    (tmp_path / "vmlinuz").write_bytes(elf())
    made = Project(tmp_path)
    made.write(IMAGE + SEED + WEB + DB)
    made.build()
    return made


@pytest.fixture
def collected(project: Project) -> Collected:
    return Collected(project)


def new_image(project: Project, text: str = "a new base\n") -> None:
    """Another rootfs, and what stands on it where nobody has written to it."""
    write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": text})
    project.apply()


def guest_writes(project: Project) -> None:
    with project.as_guest() as root:
        root.write_file("/precious", b"a guest's")


def assert_sound(project: Project) -> None:
    _, checks = verify.verify(
        project.request(), RunOptions(2, lock_seconds=0), lambda _: None, lambda _: None
    )
    assert {check.result for check in checks} == {CheckResult.OK}


def record_ids(project: Project) -> set[str]:
    return set(store.read(project.store).records)


class TestNeeded:
    """What stays."""

    def test_all_that_was_just_built(self, project: Project, collected: Collected) -> None:
        before = files(project.store)
        assert collected() == {}
        assert files(project.store) == before

    def test_an_old_image_that_a_guests_root_stands_on(self, project: Project, collected: Collected) -> None:
        guest_writes(project)
        old = project.base()
        new_image(project)
        assert project.image() != old
        assert collected() == {}
        assert_sound(project)
        assert old.exists()

    def test_what_a_vm_stands_on_that_no_manifest_declares(
        self, project: Project, collected: Collected
    ) -> None:
        before = files(project.store)
        project.write("")
        gone = collected()
        assert gone == {"images/debian": "nothing needs it"}  # the seeds, from which work disks were cloned
        assert {path: value for path, value in before.items() if "work-seed" not in path} == files(
            project.store
        )
        assert_sound(project)

    def test_a_kernel_that_a_launch_file_names_whatever_its_record_says(
        self, project: Project, collected: Collected
    ) -> None:
        project.write(KERNEL + IMAGE + SEED + WEB)
        project.build()
        launch = project.store / "vms/web/firecracker.json"
        old_text = launch.read_text()
        (old,) = project.store.glob("images/debian/*/vmlinux")
        (project.directory / "vmlinuz").write_bytes(elf(release="6.9.9"))
        project.build()
        launch.write_text(old_text)
        assert collected() == {}
        assert old.exists()
        project.build()
        assert collected() == {"images/debian": "nothing needs it"}
        assert not old.exists()

    def test_the_last_image_until_the_one_that_the_manifest_asks_for_is_there(
        self, project: Project, collected: Collected
    ) -> None:
        guest_writes(project)
        first = project.image()
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "a new base\n"})
        assert collected() == {}
        project.apply()
        second = project.image()
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "a newer one\n"})
        assert collected() == {}
        assert first.exists()
        assert second.exists()

    def test_the_image_that_the_manifest_asks_for_again(self, project: Project, collected: Collected) -> None:
        first = project.image()
        new_image(project)
        second = project.image()
        write_tar(project.directory / "root.tar", DEBIAN)
        assert collected() == {}  # roots stand on the second one
        project.build()
        assert list(collected()) == ["images/debian"]
        assert first.exists()
        assert not second.exists()
        assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
        assert_sound(project)

    def test_what_is_not_ours(self, project: Project, collected: Collected) -> None:
        foreign = [
            "images/notes.txt",
            "images/debian/notes.txt",
            "images/debian/mine/rootfs.ext4",
            "images/Debian/0123456789abcdef0123456789abcdef/x",
            "vms/web/notes.txt",
            "vms/other/root.ext4",
            "notes.txt",
        ]
        for name in foreign:
            path = project.store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine\n")
        project.write("")
        collected()
        for name in foreign:
            assert (project.store / name).read_text() == "mine\n"

    def test_all_images_while_a_store_is_there_of_which_nobody_knows_the_base(
        self, project: Project, collected: Collected
    ) -> None:
        lose_records(project.store)
        (project.store / "vms/web/attach.sh").unlink()
        project.write("")
        before = files(project.store)
        assert collected() == {}
        assert files(project.store) == before
        assert collected.warnings == [
            "no record says which image 'vms/web/root.cow' stands on: all images stay"
        ]

    def test_a_launch_file_of_before_that_somebody_has_edited(
        self, project: Project, collected: Collected
    ) -> None:
        project.write(KERNEL + IMAGE + SEED + WEB + DB)
        project.build()
        project.write(IMAGE + SEED + WEB + DB)
        project.build()
        with (project.store / "vms/web/qemu.sh").open("a") as file:
            file.write("# mine\n")
        found = collected()
        assert "vms/web/qemu.sh" not in found
        assert (project.store / "vms/web/qemu.sh").exists()

    def test_a_root_of_another_format_that_a_guest_has_written_to(
        self, project: Project, collected: Collected
    ) -> None:
        guest_writes(project)
        content = project.cow().read_bytes()
        project.write(IMAGE + SEED + WEB + 'root.format = "raw"\n' + DB)
        project.build("vm.web.root")
        assert collected() == {}
        assert project.cow().read_bytes() == content


class TestWaste:
    """What goes."""

    def test_an_old_image_that_nothing_stands_on_and_its_records(
        self, project: Project, collected: Collected
    ) -> None:
        old = project.image()
        new_image(project)
        assert len([name for name in record_ids(project) if name.startswith("image.debian.rootfs")]) == 3
        assert collected() == {"images/debian": "nothing needs it"}
        assert not old.parent.exists()
        assert len([name for name in record_ids(project) if name.startswith("image.debian.rootfs")]) == 2
        assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
        assert_sound(project)

    def test_an_image_that_is_declared_no_more(self, project: Project, collected: Collected) -> None:
        project.write(OTHER + IMAGE + SEED + WEB + DB)
        project.build()
        project.write(IMAGE + SEED + WEB + DB)
        assert list(collected()) == ["images/other"]
        assert not (project.store / "images/other").exists()
        assert not [name for name in record_ids(project) if "other" in name]
        assert not [path for path in store.read(project.store).stamps if "other" in path]

    def test_a_seed_of_a_size_that_nobody_wants_any_more(
        self, project: Project, collected: Collected
    ) -> None:
        project.write((IMAGE + SEED + WEB + DB).replace("32MiB", "64MiB"))
        project.build()
        (waste,) = collected.wastes()
        assert [Path(artifact).name for artifact in waste.artifacts] == ["work-seed@32MiB.ext4"]
        assert_sound(project)

    def test_launch_files_of_a_kernel_that_is_declared_no_more(
        self, project: Project, collected: Collected
    ) -> None:
        project.write(KERNEL + IMAGE + SEED + WEB + DB)
        project.build()
        project.write(IMAGE + SEED + WEB + DB)
        project.build()
        names = ("cloud-hypervisor.sh", "firecracker.json", "qemu.sh")
        found = collected()
        assert found == {
            "images/debian": "nothing needs it",  # though the old launch files name it
            **{f"vms/{vm}/{name}": "no step makes it any more" for vm in ("web", "db") for name in names},
        }
        assert {path.name for path in (project.store / "vms/web").iterdir()} == {
            "attach.sh",
            "detach.sh",
            "root.cow",
            "work.ext4",
        }
        assert not [path for path in store.read(project.store).stamps if path.endswith("qemu.sh")]
        assert_sound(project)

    def test_a_root_of_another_format_that_nobody_has_written_to(
        self, project: Project, collected: Collected
    ) -> None:
        project.write(IMAGE + SEED + WEB + 'root.format = "raw"\n' + DB)
        project.build()
        assert project.cow().exists()
        assert collected() == {"vms/web/root.cow": "no step makes it any more"}
        assert not project.cow().exists()

    def test_but_not_while_somebody_has_it_open(self, project: Project, collected: Collected) -> None:
        project.write(IMAGE + SEED + WEB + 'root.format = "raw"\n' + DB)
        project.build()
        with opened_by_another(project.cow()):
            assert collected() == {}
        assert project.cow().exists()

    def test_what_is_remembered_of_a_vm_whose_files_somebody_removed_but_for_a_guests_disks(
        self, project: Project, collected: Collected
    ) -> None:
        guest_writes(project)
        old = project.base()
        new_image(project)
        project.write(IMAGE + SEED + DB)
        shutil.rmtree(project.store / "vms/web")
        assert collected()["images/debian"] == "nothing needs it"
        assert not old.exists()
        known = {name for name in record_ids(project) if name.startswith("vm.web")}
        work = {"vm.web.work", "vm.web.work.patch"}  # a guest's: its drive may come back
        assert work <= known <= work | {"vm.web.root", "vm.web.root.patch"}
        assert collected() == {}

    def test_but_an_image_that_a_guests_root_stands_on_is_remembered(
        self, project: Project, collected: Collected
    ) -> None:
        """It may be put back."""
        guest_writes(project)
        new_image(project)
        project.base().unlink()
        before = record_ids(project)
        assert collected() == {}
        assert record_ids(project) == before

    def test_but_a_declared_vm_is_remembered(self, project: Project, collected: Collected) -> None:
        shutil.rmtree(project.store / "vms/web")
        assert collected() == {}
        assert "vm.web.root" in record_ids(project)

    def test_a_directory_under_a_fingerprint_that_no_record_knows(
        self, project: Project, collected: Collected
    ) -> None:
        unknown = project.store / "images/debian" / ("0123456789abcdef" * 2)
        (unknown / "kept").mkdir(parents=True)
        (unknown / "rootfs.ext4").write_bytes(bytes(8192))
        (unknown / "link").symlink_to(project.image())
        assert list(collected()) == ["images/debian"]
        assert [path.name for path in unknown.iterdir()] == ["kept"]
        assert project.image().exists()

    def test_empty_directories(self, project: Project, collected: Collected) -> None:
        for name in ("images/a/b", "vms/c", "images/debian/" + "0" * 32):
            (project.store / name).mkdir(parents=True)
        collected()
        assert {path.name for path in (project.store / "images").iterdir()} == {"debian"}
        assert {path.name for path in (project.store / "vms").iterdir()} == {"web", "db"}

    def test_what_an_interrupted_run_left_in_staging(self, project: Project, collected: Collected) -> None:
        left = project.store / ".staging/tmpdead"
        left.mkdir()
        (left / "half.ext4").write_bytes(bytes(1 << 20))
        (project.store / ".staging/file").write_bytes(b"x")
        before = allocated(project.store)
        wastes = collected.wastes()
        assert {waste.path: waste.why for waste in wastes} == {
            ".staging/file": "left by an interrupted run",
            ".staging/tmpdead": "left by an interrupted run",
        }
        assert list((project.store / ".staging").iterdir()) == []
        assert before - allocated(project.store) == sum(waste.size_bytes for waste in wastes)


class TestSizes:
    def test_what_is_said_to_be_freed_is_what_is_freed(self, project: Project, collected: Collected) -> None:
        new_image(project)
        database = {path for path in project.store.iterdir() if path.is_file()}
        before = allocated(project.store) - sum(path.stat().st_blocks * 512 for path in database)
        freed = sum(waste.size_bytes for waste in collected.wastes())
        database = {path for path in project.store.iterdir() if path.is_file()}
        after = allocated(project.store) - sum(path.stat().st_blocks * 512 for path in database)
        assert before - after == freed > 0

    def test_a_file_that_has_another_name_frees_nothing(self, project: Project, collected: Collected) -> None:
        os.link(project.image(), project.directory / "kept.ext4")
        new_image(project)
        (waste,) = collected.wastes()
        assert waste.size_bytes == 0


class TestDryRun:
    def test_it_lists_what_the_real_run_removes_and_changes_nothing(
        self, project: Project, collected: Collected
    ) -> None:
        new_image(project)
        (project.store / ".staging/tmpdead").mkdir()
        before, records = files(project.store), record_ids(project)
        listed = collected.wastes(dry_run=True)
        assert files(project.store) == before
        assert record_ids(project) == records
        assert (project.store / ".staging/tmpdead").exists()
        assert collected.wastes() == listed
        assert len(listed) == 2

    def test_it_needs_nobody_to_be_away_and_does_not_list_what_others_are_making(
        self, project: Project, collected: Collected
    ) -> None:
        new_image(project)
        with store.writing(project.store, timeout_seconds=0) as another:
            another.stage()
            assert list(collected(dry_run=True)) == ["images/debian"]


class TestRefused:
    """Whatever is wrong, nothing is removed."""

    @pytest.mark.parametrize("manifest", ["[vm.web]\nimage = 'typo'\n", "[vm.web\n", None])
    def test_a_manifest_that_cannot_be_read(
        self, project: Project, collected: Collected, manifest: str | None
    ) -> None:
        new_image(project)
        before = files(project.store)
        if manifest is None:
            (project.directory / "vm.toml").unlink()
        else:
            project.write(manifest)
        assert collected() == {}
        assert "nothing can be said" in collected.warnings[-1]
        assert files(project.store) == before

    def test_a_source_that_is_not_there(self, project: Project, collected: Collected) -> None:
        new_image(project)
        before = files(project.store)
        (project.directory / "root.tar").unlink()
        assert collected() == {}
        assert "image.debian: all of it stays" in collected.warnings[-1]
        assert files(project.store) == before

    def test_a_host_on_which_nothing_can_be_planned(
        self, project: Project, collected: Collected, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing() -> str:
            raise ToolError("'mke2fs' is not installed")

        new_image(project)
        before = files(project.store)
        monkeypatch.setitem(host.VERSIONS, "e2fsprogs", missing)
        with pytest.raises(ToolError, match="not installed"):
            collected()
        assert files(project.store) == before

    def test_a_store_that_somebody_works_in(self, project: Project, collected: Collected) -> None:
        new_image(project)
        before = files(project.store)
        with store.writing(project.store, timeout_seconds=0), pytest.raises(BusyError, match="is locked"):
            collected()
        with StoreLock(project.store / ".locks/store", 0, "it"), pytest.raises(BusyError, match="is locked"):
            collected()
        assert files(project.store) == before

    def test_a_store_that_is_not_there_is_not_made(self, project: Project, collected: Collected) -> None:
        shutil.rmtree(project.store)
        assert collected() == {}
        assert not project.store.exists()


def test_after_a_kill_at_any_file_the_store_is_sound_and_the_next_run_finishes(
    project: Project, collected: Collected, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write(KERNEL + IMAGE + SEED + WEB)
    project.build()
    project.write(IMAGE + SEED + WEB)
    new_image(project)
    before = copied(project.store, tmp_path / "before")
    calls, ended = 0, False
    while not ended:
        copied(before, project.store)
        ended = killed_after(calls, collected, monkeypatch)
        calls += 1
        assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
        collected()
        assert_sound(project)
        assert collected() == {}
    assert calls == 2 + 3 + 1  # a kernel and its plain form, launch files, and the run that nobody killed


class TestCommand:
    def test_it_lists_what_goes_and_sums_up(self, cli: CommandLine, project: Project) -> None:
        old = project.image().parent.relative_to(project.store)
        new_image(project)
        listed = cli("gc", "-n", cwd=project.directory)
        assert (listed.returncode, listed.stderr) == (0, "")
        first, last = listed.stdout.splitlines()
        assert first.split() == [str(old), *first.split()[1:3], "nothing", "needs", "it"]
        assert last == f"{' '.join(first.split()[1:3])} would be freed."
        done = cli("gc", cwd=project.directory)
        assert done.stdout == listed.stdout.replace("would be freed", "freed")
        assert not (project.store / old).exists()
        assert cli("gc", cwd=project.directory).stdout == "Nothing to remove.\n"

    def test_json_is_one_document(self, cli: CommandLine, project: Project) -> None:
        old = project.image().parent.relative_to(project.store)
        new_image(project)
        done = cli("gc", "--json", "-n", cwd=project.directory)
        document: dict[str, Any] = json.loads(done.stdout)
        (removed,) = document.pop("removed")
        assert removed == {"path": str(old), "why": "nothing needs it", "size_bytes": removed["size_bytes"]}
        assert document == {
            "format": 1,
            "store": str(project.store),
            "dry_run": True,
            "freed_bytes": removed["size_bytes"],
            "problems": [],
            "warnings": [],
        }

    def test_what_was_downloaded_is_bounded(
        self, cli: CommandLine, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        content = b"downloaded" * 10_000
        digest = hashlib.sha256(content).hexdigest()
        blob = tmp_path / "cache/bangerbuild/blobs/sha256" / digest
        blob.parent.mkdir(parents=True)
        blob.write_bytes(content)
        assert "Cache" not in cli("gc", cwd=project.directory).stdout
        listed = cli("gc", "-n", "--keep-cache", "0", cwd=project.directory)
        assert "would be freed" in listed.stdout.splitlines()[-1]
        assert blob.exists()
        done = cli("gc", "--keep-cache", "0", cwd=project.directory)
        assert done.stdout.splitlines()[-1].startswith("Cache of downloads: ")
        assert not blob.exists()

    def test_of_a_manifest_that_is_missing_nothing_is_judged(
        self, cli: CommandLine, project: Project
    ) -> None:
        new_image(project)
        before = files(project.store)
        done = cli("gc", "vm.tmol", cwd=project.directory)
        assert (done.returncode, done.stdout) == (0, "Nothing to remove.\n")
        assert "did you mean 'vm.toml'?" in done.stderr
        assert files(project.store) == before

    def test_a_store_that_is_worked_in_is_exit_code_4(self, cli: CommandLine, project: Project) -> None:
        with store.writing(project.store, timeout_seconds=0):
            done = cli("gc", "--lock-timeout", "0", cwd=project.directory)
        assert (done.returncode, done.stdout) == (4, "")
        assert "is locked by process" in done.stderr
