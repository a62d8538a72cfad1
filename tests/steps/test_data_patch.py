"""What is patched into data disks, and where files land."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.model import Outcome, ReasonCode, Verb
from tests.disk.ext4_tools import change_superblock, make_ext4
from tests.manifests import KEY
from tests.projects import DEBIAN, write_tar
from tests.steps.data_disks import ID, PATCH, WEB, disk, file
from tests.steps.guest_disks import (
    as_guest,
    new_base,
    precious,
    vm_disk,
    write_precious,
)

if TYPE_CHECKING:
    from tests.projects import Project


def test_files_land_on_the_disk_of_their_longest_prefix_below_its_mount_point(debian: Project) -> None:
    (debian.directory / "site").mkdir()
    (debian.directory / "site/index.html").write_text("<html>")
    sync = '[[vm.web.file_sync]]\nhost = "site"\nguest = "/data/log/site"\n'
    files = file("/data/a") + file("/data/log/b") + file("/data/logs/c") + file("/database")
    debian.write(WEB + disk() + disk("log", mount="/data/log") + files + sync)
    debian.build()
    data, log, root = vm_disk(debian, "data"), vm_disk(debian, "log"), debian.guest()
    for each in (data, log, root):
        each.assert_clean()
    assert data.names("/") == {"a", "log", "logs", "lost+found"}
    assert log.names("/") == {"b", "site", "lost+found"}
    assert log.text("/site/index.html") == "<html>"
    assert root.exists("/database")


def test_roots_home_may_be_on_a_data_disk(debian: Project) -> None:
    home = '[[vm.web.disk]]\nname = "home"\nsize = "64MiB"\nmount = "/root"\n'
    debian.write(f'{WEB}ssh_authorized_keys = ["{KEY}"]\n{home}')
    debian.build()
    data = vm_disk(debian, "home")
    assert data.text("/.ssh/authorized_keys") == f"{KEY}\n"
    assert (data.stat("/").mode, data.stat("/.ssh").mode) == ("0700", "0700")
    assert not debian.guest().exists("/root/.ssh")


def test_a_name_is_looked_up_in_the_passwd_of_the_guests_image(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/www", more='owner = "www-data:www-data"\n'))
    assert debian.plan()[PATCH].step.inputs == (ID, "image.debian.rootfs")
    debian.build()
    assert vm_disk(debian, "data").stat("/www").owner == "33:33"


def test_a_name_that_has_another_number_in_a_new_image_is_patched_again(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/www", more='owner = "www-data:root"\n'))
    debian.build()
    before = write_precious(vm_disk(debian, "data").path)
    users = "www-data:x:44:44::/:/bin/sh\n"
    write_tar(debian.directory / "root.tar", {**DEBIAN, "etc/passwd": users})
    assert debian.plan()[PATCH].verb is Verb.UPDATE
    debian.build()
    assert vm_disk(debian, "data").stat("/www").owner == "44:0"
    assert precious(vm_disk(debian, "data").path) == before


def test_a_name_that_the_guest_does_not_know_fails_and_leaves_the_disk(debian: Project) -> None:
    debian.write(WEB + disk())
    debian.build()
    before = vm_disk(debian, "data").path.read_bytes()
    debian.write(WEB + disk() + file("/data/a") + file("/data/b", more='owner = "nobody:root"\n'))
    reason = debian.blocked(PATCH)
    assert reason["message"] == "owner 'nobody:root': 'nobody' is not in the guest's /etc/passwd"
    assert vm_disk(debian, "data").path.read_bytes() == before


def test_a_new_image_is_no_reason_to_patch_what_root_owns(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/a"))
    debian.build()
    new_base(debian, DEBIAN)
    assert debian.plan()[PATCH].verb is Verb.KEEP


def test_an_unknown_disk_whose_patch_fails_is_adopted_and_its_content_is_as_it_was(debian: Project) -> None:
    path = debian.store / "vms/web/data.ext4"
    path.parent.mkdir(parents=True)
    make_ext4(path)
    before = write_precious(path)
    debian.write(WEB + disk(size="128MiB") + file("/data/precious"))
    results = debian.apply()
    assert (results[ID].outcome, results[PATCH].outcome) == (Outcome.DONE, Outcome.SKIPPED)
    assert debian.blocked(PATCH)["guest"] == "/data/precious"
    assert precious(path) == before
    assert debian.plan()[ID].verb is Verb.KEEP


def test_a_disk_that_is_mounted_elsewhere_from_now_on_has_no_false_differences(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/x"))
    debian.build()
    with as_guest(vm_disk(debian, "data").path) as filesystem:
        filesystem.write_file("/own", b"a guest's")
    debian.write(WEB + disk(mount="/srv/d") + file("/srv/d/x"))
    found = debian.plan()[PATCH].reasons
    assert ReasonCode.FILE_DIFFERS not in [reason.code for reason in found]
    debian.build()
    assert vm_disk(debian, "data").text("/x") == "x"
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}


def test_a_plan_says_what_a_patch_will_be_refused_for(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/x"))
    debian.build()
    path = vm_disk(debian, "data").path
    with as_guest(path) as filesystem:
        filesystem.make_directory("/y")
    debian.write(WEB + disk() + file("/data/y"))
    reason = debian.blocked(PATCH)
    assert (reason["code"], reason["guest"], reason["there"]) == ("path-in-the-way", "/data/y", "directory")
    change_superblock(path, state=2)
    reason = debian.blocked(PATCH)
    assert reason["message"] == "'vms/web/data.ext4' is marked as having errors"
    assert reason["hint"] == f"e2fsck -f '{path}'"
