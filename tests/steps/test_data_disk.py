from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.errors import ManifestError
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.data_patch import DataPatch
from tests.disk.ext4_tools import make_ext4
from tests.projects import reasons
from tests.steps.data_disks import ID, PATCH, WEB, disk, file
from tests.steps.guest_disks import (
    GIB,
    MIB,
    allocated_bytes,
    filesystem_bytes,
    label,
    precious,
    vm_disk,
    write_precious,
)

if TYPE_CHECKING:
    from tests.conftest import CommandLine
    from tests.projects import Project


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
