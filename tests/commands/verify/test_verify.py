"""`verify`: what is sound, what it looks at, and what it says."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.commands import verify
from bangerbuild.errors import StoreError, ToolError, UsageError
from bangerbuild.host import process
from tests.commands.verify.verified import DB, MANNER, SEED, WEB, Verified, artifacts, ignore
from tests.disk.damage import flip, leave_in_journal, place_of
from tests.steps.guest_disks import IMAGE, as_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bangerbuild.commands.verify.check import Check
    from tests.conftest import CommandLine
    from tests.projects import Project


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

    def test_a_manifest_that_is_wrong_keeps_nobody_from_looking_at_the_store(
        self, project: Project, verified: Verified
    ) -> None:
        project.write("[vm.web]\nimage = 'none'\n")
        assert verified() == {}

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
        assert list(document) == ["format", "store", "checks", "summary", "problems", "warnings"]
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
