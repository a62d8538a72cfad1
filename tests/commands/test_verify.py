from __future__ import annotations

import json
import os
import shutil
import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import process, store
from bangerbuild.commands import verify
from bangerbuild.commands.verify.check import Check, CheckResult
from bangerbuild.disk import checking
from bangerbuild.disk.formats.raw import Raw
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import BusyError, ManifestError, StoreError, ToolError, UsageError
from bangerbuild.model.request import RunOptions
from bangerbuild.planning import host
from bangerbuild.store.locks import StoreLock
from tests.disk.damage import bitmap_of, flip, leave_in_journal, place_of
from tests.disk.ext4_tools import change_superblock
from tests.disk.faults import Kill, Killed, running_on
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, as_guest
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bangerbuild.disk.formats.values import StoredDisk
    from tests.conftest import CommandLine

SEED = '[image.debian.work_seed]\ndirectory = "skel"\nsize = "16MiB"\n'
WEB = """\
[vm.web]
image = "debian"
work.size = "32MiB"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
[[vm.web.file]]
guest = "~/.config"
content = "colour = red\\n"
"""
DB = """\
[vm.db]
image = "debian"
root.format = "raw"
work = false
[[vm.db.disk]]
name = "data"
size = "16MiB"
mount = "/data"
[[vm.db.file]]
guest = "/data/table"
content = "1,2,3\\n"
"""
MANNER = RunOptions(jobs=2, lock_seconds=0)


@dataclass
class Verified:
    """Verifies a project, and remembers what came of it last."""

    project: Project
    checks: tuple[Check, ...] = ()
    told: list[Check] = field(default_factory=list)

    def __call__(self, *targets: str, again: bool = False) -> dict[tuple[str, str], list[str]]:
        """The messages of what is not well, by artifact (without fingerprint) and check."""
        request = replace(self.project.request(), targets=targets)
        self.told.clear()
        _, self.checks = verify.verify(request, MANNER, self.told.extend, ignore, again=again)
        faults: dict[tuple[str, str], list[str]] = {}
        for check in self.checks:
            if check.result is not CheckResult.OK:
                faults.setdefault((short(check.path), check.check), []).append(check.message)
        return faults

    def names(self) -> dict[str, list[str]]:
        """The checks that were made, by artifact."""
        names: dict[str, list[str]] = {}
        for check in self.checks:
            names.setdefault(short(check.path), []).append(check.check)
        return names

    def results(self) -> set[CheckResult]:
        return {check.result for check in self.checks}


def ignore(_message: str) -> None:
    pass


def short(path: str) -> str:
    """Without the fingerprint."""
    parts = path.split("/")
    return "/".join(parts[:2] + parts[3:]) if parts[0] == "images" else path


def artifacts(project: Project) -> dict[str, tuple[bytes, int, int]]:
    """What lies in the store, but for its own files: bytes, inode and time."""
    return {
        str(path.relative_to(project.store)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for top in ("images", "vms")
        for path in sorted((project.store / top).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM on a snapshot with a work disk cloned from a seed, one on raw disks; built."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "skel").mkdir()
    (tmp_path / "skel/.profile").write_text("umask 022\n")
    made = Project(tmp_path)
    made.write(IMAGE + SEED + WEB + DB)
    made.build()
    return made


@pytest.fixture
def verified(project: Project) -> Verified:
    return Verified(project)


@pytest.fixture
def disk(project: Project) -> Callable[[str], Path]:
    """A file in the directories of the VMs."""
    return (project.store / "vms").joinpath


@pytest.fixture
def in_use(project: Project) -> Iterator[str]:
    """A process that has the data disk open."""
    with opened_by_another(project.store / "vms/db/data.ext4") as pid:
        yield str(pid)


class TestSound:
    """What is as it should be, and what only looks otherwise."""

    def test_what_was_just_built_is_sound_in_every_respect(self, verified: Verified) -> None:
        assert verified() == {}
        raw, ours = ["artifact", "digest", "filesystem"], ["artifact", "digest"]
        assert verified.names() == {
            "images/debian/rootfs.ext4": raw,
            "images/debian/work-seed.ext4": raw,
            "images/debian/work-seed@32MiB.ext4": raw,
            "vms/db/attach.sh": ours,
            "vms/db/detach.sh": ours,
            "vms/db/data.ext4": [*raw, "files"],
            "vms/db/root.ext4": [*raw, "files"],
            "vms/web/attach.sh": ours,
            "vms/web/detach.sh": ours,
            "vms/web/root.cow": ["artifact", "digest", "base", "filesystem", "files"],
            "vms/web/work.ext4": [*raw, "files"],
        }

    def test_nothing_in_the_store_is_touched_and_no_staging_is_left(
        self, project: Project, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        leave_in_journal(disk("web/work.ext4"), "/.config", b"colour = red\n")
        before = artifacts(project)
        assert verified() == {}
        assert artifacts(project) == before
        assert list((project.store / ".staging").iterdir()) == []

    def test_checks_are_told_as_they_are_made(self, verified: Verified) -> None:
        verified()
        assert tuple(verified.told) == verified.checks

    def test_what_a_guest_writes_of_its_own_is_no_fault(
        self, project: Project, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        with project.as_guest() as root:
            root.write_file("/var/own", b"a guest's")
        for path in ("web/work.ext4", "db/data.ext4", "db/root.ext4"):
            with as_guest(disk(path)) as filesystem:
                filesystem.write_file("/own", b"a guest's")
        assert verified() == {}

    def test_a_store_that_was_copied_is_sound(
        self, project: Project, verified: Verified, tmp_path: Path
    ) -> None:
        shutil.copytree(project.store, tmp_path / "copy", copy_function=shutil.copyfile)
        shutil.rmtree(project.store)
        (tmp_path / "copy").rename(project.store)
        assert verified() == {}

    def test_that_the_manifest_wants_something_else_is_no_fault(
        self, project: Project, verified: Verified
    ) -> None:
        project.write((IMAGE + SEED + WEB + DB).replace("port = 80", "port = 81").replace("32MiB", "64MiB"))
        assert verified() == {}

    def test_a_disk_that_was_moved_in_the_manifest_is_read_where_it_was(
        self, project: Project, verified: Verified
    ) -> None:
        project.write((IMAGE + SEED + WEB + DB).replace('"/data"', '"/srv"').replace("/data/t", "/srv/t"))
        assert verified() == {}

    def test_what_a_killed_guest_left_in_its_journal_counts(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        work = disk("web/work.ext4")
        leave_in_journal(work, "/.config", b"colour = red\n")
        flip(work, place_of(work, "/.config"), unnoticed=False)
        assert verified() == {}
        leave_in_journal(work, "/.config", b"colour = blue")
        assert verified() == {("vms/web/work.ext4", "files"): ["/root/.config differs in the guest"]}


class TestDamage:
    """What is wrong is found, named, and keeps nothing else from being checked."""

    def test_a_damaged_block_of_a_file(self, verified: Verified, disk: Callable[[str], Path]) -> None:
        work = disk("web/work.ext4")
        flip(work, place_of(work, "/.config"))
        assert verified() == {("vms/web/work.ext4", "files"): ["/root/.config differs in the guest"]}

    def test_a_damaged_bitmap(self, verified: Verified, disk: Callable[[str], Path]) -> None:
        flip(disk("db/data.ext4"), bitmap_of(disk("db/data.ext4")))
        ((found, (message,)),) = verified().items()
        assert found == ("vms/db/data.ext4", "filesystem")
        assert message.startswith("e2fsck: ")

    def test_a_damaged_superblock(self, verified: Verified, disk: Callable[[str], Path]) -> None:
        with disk("web/work.ext4").open("r+b") as file:
            os.pwrite(file.fileno(), bytes(1024), 1024)
        ((found, (message,)),) = verified().items()
        assert found == ("vms/web/work.ext4", "filesystem")
        assert "'vms/web/work.ext4' holds no ext4 filesystem" in message

    def test_a_store_on_which_e2fsck_gives_up_is_told_in_its_words(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        """It is given a merged copy, whose name nobody could type."""
        cow = bytearray(disk("web/root.cow").read_bytes())
        place = next(new for old, new in struct.iter_unpack("<2Q", cow[4096:8192]) if old == 0)
        struct.pack_into("<I", cow, place * 4096 + 1024 + 0x20, 0)  # of the superblock: s_blocks_per_group
        disk("web/root.cow").write_bytes(cow)
        messages = [message for some in verified().values() for message in some]
        assert messages
        assert any("superblock" in message for message in messages)
        assert not any(".staging" in message for message in messages)

    @pytest.mark.parametrize("suffix", ["redo", "grow"])
    def test_what_lies_beside_a_disk_and_cannot_be_mended_is_named_where_it_lies(
        self, verified: Verified, disk: Callable[[str], Path], suffix: str
    ) -> None:
        work = disk("web/work.ext4")
        if suffix == "redo":
            with running_on(Kill(at=12)), suppress(Killed), Transaction(work, "disk") as file:
                file.write(2 << 20, b"patched" * 2000)
                file.flush()
            with work.open("r+b") as used:
                used.seek(2 << 20)
                used.write(b"a guest's" * 1000)
        else:
            work.with_name("work.ext4.grow").write_text("abc\n")
        (messages,) = verified().values()
        assert f"'{work}.{suffix}'" in messages[0]
        assert ".staging" not in messages[0]

    def test_a_filesystem_marked_as_having_errors(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        change_superblock(disk("db/root.ext4"), state=2)
        assert verified() == {
            ("vms/db/root.ext4", "filesystem"): [
                f"'vms/db/root.ext4' is marked as having errors (e2fsck -f '{disk('db/root.ext4')}')"
            ]
        }

    def test_a_damaged_header_of_a_store(self, verified: Verified, disk: Callable[[str], Path]) -> None:
        flip(disk("web/root.cow"), 0, unnoticed=False)
        ((found, (message,)),) = verified().items()
        assert found == ("vms/web/root.cow", "filesystem")
        assert "'vms/web/root.cow' is no dm-snapshot store" in message

    def test_a_damaged_chunk_of_a_store_nobody_wrote_to(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        cow = disk("web/root.cow")
        flip(cow, cow.read_bytes().index(b"port = 80"))
        faults = verified()
        assert faults.pop(("vms/web/root.cow", "digest")) == ["its bytes changed although nobody wrote to it"]
        assert faults == {("vms/web/root.cow", "files"): ["/etc/app.conf differs in the guest"]}

    def test_a_base_that_is_gone(self, project: Project, verified: Verified) -> None:
        base = project.base()
        base.unlink()
        assert verified() == {
            ("images/debian/rootfs.ext4", "artifact"): ["it is missing"],
            ("vms/web/root.cow", "base"): [f"its base '{base}' is missing: nothing else can be said of it"],
        }

    def test_a_launch_file_that_was_edited_and_one_that_is_gone(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        with disk("web/attach.sh").open("a") as file:
            file.write("rm -rf /\n")
        disk("web/detach.sh").unlink()
        assert verified() == {
            ("vms/web/attach.sh", "digest"): ["was changed by someone else"],
            ("vms/web/detach.sh", "artifact"): ["it is missing"],
        }

    @pytest.mark.parametrize(
        ("unnoticed", "message"),
        [
            (True, "its bytes changed although nobody wrote to it"),
            (False, "was changed by someone else"),
        ],
    )
    def test_a_byte_of_an_image(
        self, project: Project, verified: Verified, *, unnoticed: bool, message: str
    ) -> None:
        image = project.image()
        flip(image, place_of(image, "/etc/hostname"), unnoticed=unnoticed)
        assert verified() == {("images/debian/rootfs.ext4", "digest"): [message]}

    def test_a_guests_own_edit_of_a_declared_file(self, project: Project, verified: Verified) -> None:
        with project.as_guest() as root:
            root.write_file("/etc/app.conf", b"port = 8080\n")
            root.set_attributes("/etc/hosts", mode=0o600)
            root.remove("/etc/hostname")
        assert verified() == {
            ("vms/web/root.cow", "files"): [
                "/etc/app.conf differs in the guest",
                "/etc/hostname differs in the guest",
                "/etc/hosts differs in the guest",
            ]
        }

    def test_a_vm_that_no_manifest_declares_is_checked_to_its_files(
        self, project: Project, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        project.write(IMAGE + SEED)
        with as_guest(disk("db/data.ext4")) as filesystem:
            filesystem.write_file("/table", b"4,5,6\n")
        assert verified() == {("vms/db/data.ext4", "files"): ["/data/table differs in the guest"]}

    def test_an_old_image_is_checked_too(self, project: Project, verified: Verified) -> None:
        old = project.image()
        with project.as_guest() as root:
            root.write_file("/own", b"a guest's")
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "new\n"})
        project.apply()
        assert project.image() != old
        flip(old, place_of(old, "/etc/hostname"))
        assert verified() == {
            ("images/debian/rootfs.ext4", "digest"): ["its bytes changed although nobody wrote to it"]
        }
        (wrong,) = [check for check in verified.checks if check.result is CheckResult.FAILED]
        assert (wrong.path, wrong.id) == (str(old.relative_to(project.store)), "image.debian.rootfs")

    def test_a_disk_that_cannot_be_read(self, verified: Verified, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_raw: Raw, disk: StoredDisk, _room: object) -> Path:
            raise OSError(5, "Input/output error", str(disk.path))

        monkeypatch.setattr(Raw, "check", fail)
        faults = verified("vm.db.root")
        assert faults[("vms/db/root.ext4", "filesystem")] == ["can't be read: input/output error"]


class TestInUse:
    """A disk that somebody has open is left out and listed."""

    def test_a_disk_in_use_is_named_with_its_holder_and_the_rest_is_checked(
        self, verified: Verified, in_use: str
    ) -> None:
        ((found, (message,)),) = verified().items()
        assert found == ("vms/db/data.ext4", "use")
        assert message.startswith("in use by ")
        assert in_use in message
        assert verified.names()["vms/db/data.ext4"] == ["use"]
        assert verified.names()["vms/db/root.ext4"][-1] == "files"

    def test_a_disk_that_is_used_while_it_is_checked_is_in_use_and_not_damaged(
        self, verified: Verified, disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = disk("web/work.ext4")

        def errors(raw: Path) -> Sequence[str]:
            if raw == work:
                with as_guest(work) as filesystem:
                    filesystem.write_file("/.config", b"by a VM\n")
            return ()

        monkeypatch.setattr(checking, "errors_in", errors)
        assert verified() == {("vms/web/work.ext4", "use"): ["it was used while it was checked"]}

    def test_a_vm_that_an_apply_works_on_is_in_use(self, project: Project, verified: Verified) -> None:
        with StoreLock(project.store / ".locks/vm.db", 0, "vm.db"):
            faults = verified()
        assert {path for path, _ in faults} == {
            f"vms/db/{name}" for name in ("attach.sh", "detach.sh", "data.ext4", "root.ext4")
        }
        for (message,) in faults.values():
            assert message == f"'vm.db' is locked by process {os.getpid()}"

    def test_a_store_that_somebody_has_alone_is_waited_for_in_vain(
        self, project: Project, verified: Verified
    ) -> None:
        with (
            StoreLock(project.store / ".locks/store", 0, "the store"),
            pytest.raises(BusyError, match="locked"),
        ):
            verified()


class TestTargets:
    """A part of the store."""

    def test_a_target_brings_what_it_stands_on(self, verified: Verified) -> None:
        assert verified("vm.web.root") == {}
        assert set(verified.names()) == {"images/debian/rootfs.ext4", "vms/web/root.cow"}

    def test_a_target_may_be_a_vm_that_no_manifest_declares(
        self, project: Project, verified: Verified
    ) -> None:
        project.write(IMAGE + SEED + WEB)
        assert verified("vm.db.disk") == {}
        assert set(verified.names()) == {"vms/db/data.ext4"}

    def test_an_unknown_target_is_answered_with_its_neighbour(self, verified: Verified) -> None:
        with pytest.raises(UsageError, match=r"no step is called 'vm\.wbe'") as caught:
            verified("vm.wbe")
        assert caught.value.hint == "did you mean 'vm.web'?"

    def test_what_was_declared_and_never_built_is_nothing_to_verify(
        self, project: Project, verified: Verified
    ) -> None:
        project.write(IMAGE + SEED + WEB + DB + '[vm.new]\nimage = "debian"\nwork = false\n')
        assert verified("vm.new") == {}
        assert verified.checks == ()


class TestBadInput:
    """What can't be verified at all."""

    def test_a_store_that_is_not_there_is_not_made(self, project: Project, verified: Verified) -> None:
        shutil.rmtree(project.store)
        with pytest.raises(StoreError, match="nothing was built in") as caught:
            verified()
        assert caught.value.hint == "bangerbuild apply"
        assert not project.store.exists()

    def test_a_manifest_that_is_wrong(self, project: Project, verified: Verified) -> None:
        project.write("[vm.web]\nimage = 'none'\n")
        with pytest.raises(ManifestError):
            verified()

    def test_a_host_without_e2fsck_is_told_so_before_anything_is_called_damaged(
        self, verified: Verified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(program: str) -> str:
            raise ToolError(f"'{program}' is not installed")

        monkeypatch.setattr(process, "find", missing)
        with pytest.raises(ToolError, match="'e2fsck' is not installed"):
            verified()

    def test_an_interrupted_verification_leaves_no_copies(self, project: Project) -> None:
        def interrupt(_: Sequence[Check]) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            verify.verify(project.request(), MANNER, interrupt, ignore)
        assert list((project.store / ".staging").iterdir()) == []


class TestRebuild:
    """Images made again and compared."""

    def rebuilt(self, verified: Verified, *targets: str) -> dict[str, tuple[str, str]]:
        verified(*targets, again=True)
        return {
            short(check.path): (check.result.value, check.message)
            for check in verified.checks
            if check.check == "rebuild"
        }

    def test_the_same_manifest_gives_the_same_bytes(self, project: Project, verified: Verified) -> None:
        before, records = artifacts(project), store.read(project.store).records
        same = ("ok", "made again, it has the same bytes")
        assert self.rebuilt(verified) == {
            "images/debian/rootfs.ext4": same,
            "images/debian/work-seed.ext4": same,
            "images/debian/work-seed@32MiB.ext4": same,
        }
        assert verified.results() == {CheckResult.OK}
        assert artifacts(project) == before
        assert store.read(project.store).records == records
        assert list((project.store / ".staging").iterdir()) == []

    def test_an_image_with_other_bytes_is_found(self, project: Project, verified: Verified) -> None:
        image = project.image()
        flip(image, place_of(image, "/etc/hostname"))
        assert self.rebuilt(verified)["images/debian/rootfs.ext4"] == (
            "failed",
            "made again, it has other bytes",
        )

    def test_an_image_whose_source_changed_is_not_compared(
        self, project: Project, verified: Verified
    ) -> None:
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "new\n"})
        found = self.rebuilt(verified)
        assert [value for name, value in found.items() if "rootfs" in name] == [
            ("skipped", "not compared: it has not been made yet")
        ]
        assert found["images/debian/work-seed.ext4"][0] == "ok"

    def test_an_image_made_with_other_tools_is_not_compared(
        self, verified: Verified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(host.VERSIONS, "e2fsprogs", lambda: "1.99")
        assert set(self.rebuilt(verified).values()) == {
            ("skipped", "not compared: it was made with other versions of its tools")
        }

    def test_an_image_that_cannot_be_made_again_and_what_is_made_from_it(
        self, project: Project, verified: Verified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", str(project.store))

        monkeypatch.setattr("bangerbuild.steps.image_tree.making.make_empty", fail)
        found = self.rebuilt(verified)
        assert found["images/debian/rootfs.ext4"][0] == "failed"
        assert "no space left on device" in found["images/debian/rootfs.ext4"][1]
        assert found["images/debian/work-seed@32MiB.ext4"] == (
            "failed",
            "not made again: what it is made from could not be made",
        )

    def test_a_target_is_made_again_with_what_it_needs(self, verified: Verified) -> None:
        assert set(self.rebuilt(verified, "vm.web.root")) == {"images/debian/rootfs.ext4"}

    def test_kernel_and_initrd_are_made_again(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "root.tar", DEBIAN)
        (tmp_path / "vmlinuz").write_bytes(elf())
        project = Project(tmp_path)
        project.write('[image.debian]\nkernel = "vmlinuz"\n' + IMAGE)
        project.build()
        verified = Verified(project)
        found = self.rebuilt(verified)
        assert {name: result for name, (result, _) in found.items()} == {
            "images/debian/rootfs.ext4": "ok",
            "images/debian/vmlinuz": "ok",
            "images/debian/vmlinux": "ok",
        }


class TestCommand:
    """What users and programs see."""

    def run(self, cli: CommandLine, project: Project, *arguments: str) -> tuple[int, str]:
        done = cli("verify", *arguments, cwd=project.directory)
        assert done.stderr == ""
        return done.returncode, done.stdout

    def test_what_is_well_has_a_line_for_each_artifact_and_a_sum(
        self, cli: CommandLine, project: Project
    ) -> None:
        code, printed = self.run(cli, project)
        assert code == 0
        *lines, last = printed.splitlines()
        assert last == "11 artifacts: 11 ok"
        assert "  ok      vms/web/root.cow" in lines
        assert len(lines) == 11

    @pytest.mark.usefixtures("in_use")
    def test_each_fault_has_a_line_and_the_exit_code_is_1_even_if_a_disk_is_in_use(
        self, cli: CommandLine, project: Project
    ) -> None:
        with project.as_guest() as root:
            root.write_file("/etc/app.conf", b"port = 8080\n")
        code, printed = self.run(cli, project, "-j", "1")
        assert code == 1
        assert "  failed  vms/web/root.cow  /etc/app.conf differs in the guest\n" in printed
        assert "  in use  vms/db/data.ext4  in use by " in printed
        assert printed.endswith("11 artifacts: 9 ok, 1 failed, 1 in use\n")

    @pytest.mark.usefixtures("in_use")
    def test_a_disk_in_use_alone_is_exit_code_4(self, cli: CommandLine, project: Project) -> None:
        code, printed = self.run(cli, project)
        assert code == 4
        assert printed.endswith("11 artifacts: 10 ok, 1 in use\n")

    @pytest.mark.usefixtures("in_use")
    def test_json_is_one_document(self, cli: CommandLine, project: Project) -> None:
        image = project.image()
        flip(image, place_of(image, "/etc/hostname"))
        code, printed = self.run(cli, project, "--json")
        document: dict[str, Any] = json.loads(printed)
        assert code == 1
        assert list(document) == ["format", "store", "checks", "summary"]
        assert (document["format"], document["store"]) == (1, str(project.store))
        assert {tuple(check) for check in document["checks"]} == {
            ("path", "id", "check", "result", "message")
        }
        assert {
            "path": str(image.relative_to(project.store)),
            "id": "image.debian.rootfs",
            "check": "digest",
            "result": "failed",
            "message": "its bytes changed although nobody wrote to it",
        } in document["checks"]
        results = [check["result"] for check in document["checks"]]
        assert document["summary"] == {
            "ok": results.count("ok"),
            "failed": 1,
            "in-use": 1,
            "skipped": 0,
        }

    def test_a_rebuild_is_asked_for_by_its_option(self, cli: CommandLine, project: Project) -> None:
        code, printed = self.run(cli, project, "--rebuild", "--target", "image.debian.work_seed")
        assert code == 0
        assert printed.count("made again, it has the same bytes") == 2

    def test_a_missing_store_is_exit_code_1_with_the_way_out(
        self, cli: CommandLine, project: Project
    ) -> None:
        done = cli("verify", "--store", "elsewhere", cwd=project.directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert "nothing was built in" in done.stderr
        assert "hint: bangerbuild apply" in done.stderr
        assert not (project.directory / "elsewhere").exists()
