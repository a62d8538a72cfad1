"""Damage to artifacts, and artifacts that somebody has open: each is told by what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.disk import checking
from bangerbuild.disk.formats.raw import Raw
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import BusyError
from bangerbuild.store.locks import StoreLock
from tests.commands.verify.verified import SEED, Verified
from tests.disk.damage import bitmap_of, flip, place_of
from tests.disk.ext4_tools import change_superblock
from tests.disk.faults import Kill, Killed, running_on
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE, as_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bangerbuild.disk.formats.values import StoredDisk


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
            with running_on(Kill(at=13)), suppress(Killed), Transaction(work, "disk") as file:
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

    def test_what_is_no_file_in_the_place_of_an_artifact_is_not_opened(
        self, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        """To open a FIFO would wait for ever."""
        for name in ("web/root.cow", "web/attach.sh"):
            disk(name).unlink()
            os.mkfifo(disk(name))
        disk("db/root.ext4").unlink()
        disk("db/root.ext4").mkdir()
        assert verified() == {
            ("vms/web/root.cow", "artifact"): ["it is no regular file"],
            ("vms/web/attach.sh", "artifact"): ["it is no regular file"],
            ("vms/db/root.ext4", "artifact"): ["it is a directory"],
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

    def test_a_row_of_what_was_written_into_a_guest_that_is_damaged(
        self, project: Project, verified: Verified, disk: Callable[[str], Path]
    ) -> None:
        with closing(sqlite3.connect(project.store / "state.db")) as database:
            database.execute("UPDATE files SET body = '[' WHERE id = 'vm.web.root.patch'")
            database.commit()
        flip(disk("db/data.ext4"), place_of(disk("db/data.ext4"), "/table"), unnoticed=True)
        (message,) = verified().pop(("vms/web/root.cow", "files"))
        assert "vm.web.root.patch" in message
        assert "bangerbuild recover" in message
        assert ("vms/db/data.ext4", "files") in verified(), "the other disks are looked at all the same"

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
