from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.errors import ManifestError
from bangerbuild.model import Outcome, ReasonCode, Verb
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.data_patch import DataPatch
from tests.disk.ext4_tools import change_superblock, make_ext4
from tests.manifests import KEY
from tests.projects import DEBIAN, reasons, write_tar
from tests.steps.guest_disks import (
    GIB,
    IMAGE,
    MIB,
    allocated_bytes,
    as_guest,
    filesystem_bytes,
    label,
    new_base,
    precious,
    vm_disk,
    write_precious,
)

if TYPE_CHECKING:
    from tests.conftest import CommandLine
    from tests.projects import Project

ID, PATCH = "vm.web.disk.data", "vm.web.disk.data.patch"
WEB = f'{IMAGE}[vm.web]\nimage = "debian"\n'


def disk(name: str = "data", size: str = "64MiB", mount: str = "/data") -> str:
    return f'[[vm.web.disk]]\nname = "{name}"\nsize = "{size}"\nmount = "{mount}"\n'


def file(guest: str, content: str = "x", more: str = "") -> str:
    return f'[[vm.web.file]]\nguest = "{guest}"\ncontent = "{content}"\n{more}'


def action(project: Project) -> tuple[str, list[str]]:
    found = project.plan()[ID]
    return found.verb.value, [reason.code.value for reason in found.reasons]


# the disk


def test_each_data_disk_is_a_step_with_a_patch(debian: Project) -> None:
    debian.write(WEB + disk() + disk("log", "1GiB", "/var/log"))
    loaded = manifest.load((debian.directory / "vm.toml",))
    assert [(step.id, step.inputs, step.outputs) for step in DataDisk.declare(loaded)] == [
        (ID, (), ("vms/web/data.ext4",)),
        ("vm.web.disk.log", (), ("vms/web/log.ext4",)),
    ]
    assert [(step.id, step.inputs) for step in DataPatch.declare(loaded)] == [
        (PATCH, (ID,)),
        ("vm.web.disk.log.patch", ("vm.web.disk.log",)),
    ]


def test_a_data_disk_is_empty_and_named_as_it_is_declared(debian: Project) -> None:
    debian.write(WEB + disk(size="10GiB"))
    debian.build()
    data = vm_disk(debian, "data")
    data.assert_clean()
    assert data.names("/") == {"lost+found"}
    assert (data.stat("/").owner, data.stat("/").mode) == ("0:0", "0755")
    assert label(data.path) == "data"
    assert filesystem_bytes(data.path) == data.path.stat().st_size == 10 * GIB
    assert allocated_bytes(data.path) < 5 * MIB
    assert data.path.stat().st_mode & 0o7777 == 0o600


def test_fstab_mounts_the_disks_by_their_labels_and_the_root_has_the_directories(debian: Project) -> None:
    debian.write(f"{WEB}work.size = '64MiB'\n" + disk() + disk("log", mount="/data/log"))
    debian.build()
    guest = debian.guest()
    lines = guest.text("/etc/fstab").splitlines()
    assert [line for line in lines if line.startswith("LABEL=") and " / " not in line] == [
        "LABEL=work /root ext4 defaults 0 2",
        "LABEL=data /data ext4 defaults 0 2",
        "LABEL=log /data/log ext4 defaults 0 2",
    ]
    assert guest.names("/data") == set()
    assert vm_disk(debian, "data").stat("/log").type == "directory"


def test_a_mount_point_that_is_there_keeps_its_attributes(debian: Project) -> None:
    debian.write(WEB + disk() + file("/data/log/.keep"))
    debian.build()
    before = vm_disk(debian, "data").stat("/log")
    debian.write(WEB + disk() + disk("log", mount="/data/log"))
    debian.build()
    assert vm_disk(debian, "data").stat("/log") == before


def test_two_data_disks_of_one_manifest_are_not_the_same_filesystem(debian: Project) -> None:
    debian.write(WEB + disk() + disk("log", mount="/log"))
    debian.build()
    uuids = {vm_disk(debian, name).superblock("Filesystem UUID") for name in ("data", "log")}
    assert len(uuids) == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (disk("root"), "'root' is the name of the VM's own root disk"),
        (disk("work"), "'work' is the name of the VM's own work disk"),
        (disk(size="64KiB"), "too small a disk"),
        (disk().replace('"64MiB"', "67108865"), "which is not a multiple of 4096"),
        (disk() + disk(mount="/other"), "'data'"),
        (disk() + disk("log"), "'/data'"),
        (disk(mount="data"), "mount"),
        (disk("a-name-of-17-chars"), "name"),
    ],
)
def test_a_disk_that_cannot_be_is_a_problem_of_the_manifest(debian: Project, table: str, said: str) -> None:
    debian.write(WEB + table)
    with pytest.raises(ManifestError) as caught:
        debian.plan()
    (problem,) = caught.value.problems
    assert said in f"{problem.key} {problem.message}"
    assert not debian.store.exists()


# what a guest wrote


def test_what_a_guest_wrote_survives_patches_and_growth(debian: Project) -> None:
    debian.write(WEB + disk())
    debian.build()
    before = write_precious(vm_disk(debian, "data").path)
    for size, text in (("64MiB", "a"), ("128MiB", "a"), ("1GiB", "b"), ("2GiB", "b")):
        debian.write(WEB + disk(size=size) + file("/data/etc/conf", text))
        debian.build()
        assert precious(vm_disk(debian, "data").path) == before
        assert vm_disk(debian, "data").text("/etc/conf") == text
    assert filesystem_bytes(vm_disk(debian, "data").path) == 2 * GIB


def test_a_smaller_size_is_blocked(debian: Project) -> None:
    debian.write(WEB + disk(size="1GiB"))
    debian.build()
    debian.write(WEB + disk(size="64MiB"))
    assert reasons(debian.plan()[ID]) == [{"code": "size-shrink", "old": GIB, "new": 64 * MIB}]
    debian.build()
    assert filesystem_bytes(vm_disk(debian, "data").path) == GIB


def test_a_disk_that_no_record_knows_is_adopted_and_labelled(debian: Project) -> None:
    path = debian.store / "vms/web/data.ext4"
    path.parent.mkdir(parents=True)
    make_ext4(path, "-L", "other")
    before = write_precious(path)
    debian.write(WEB + disk() + file("/data/new"))
    assert action(debian) == ("adopt", ["missing"])
    debian.build()
    assert precious(path) == before
    assert label(path) == "data"
    assert vm_disk(debian, "data").exists("/new")
    assert action(debian) == ("keep", [])


def test_a_disk_in_use_is_left_and_the_rest_is_done(debian: Project, cli: CommandLine) -> None:
    debian.write(WEB + disk())
    debian.build()
    path = vm_disk(debian, "data").path
    before = path.stat()
    debian.write(WEB.replace("[vm.web]", '[vm.web]\nhostname = "renamed"') + disk(size="128MiB"))
    with path.open("rb"):
        done = cli("apply", cwd=debian.directory)
        assert debian.plan()[ID].in_use
    assert done.returncode == 4
    assert path.stat().st_ino == before.st_ino
    assert debian.guest().text("/etc/hostname") == "renamed\n"


# what is patched in


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
    error = debian.error(PATCH)
    assert error.brief == "owner 'nobody:root': 'nobody' is not in the guest's /etc/passwd"
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
    assert (results[ID].outcome, results[PATCH].outcome) == (Outcome.DONE, Outcome.FAILED)
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
    (diff,) = [diff for diff in debian.plan()[PATCH].diffs if diff.guest == "/data/y"]
    assert (
        diff.note
        == "can't be written: a directory is there in the guest; move it away, or change the manifest"
    )
    change_superblock(path, state=2)
    (diff,) = debian.plan()[PATCH].diffs
    assert diff.note == (
        f"can't be changed: 'vms/web/data.ext4' is marked as having errors (e2fsck -f '{path}')"
    )
