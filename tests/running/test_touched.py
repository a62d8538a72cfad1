"""Disks that a guest wrote to are judged before a plan could be made, and as that would judge them."""

from __future__ import annotations

import marshal
import os
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import graph, pipeline, store
from bangerbuild.disk import formats
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.model import Verb
from bangerbuild.planning.recorded import Recorded
from bangerbuild.running.touched import are_as_declared
from bangerbuild.steps import startable
from bangerbuild.tree import ALONE
from tests.fakes import EPOCH
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk

FILE = '[[vm.web.file]]\nguest = "/etc/app.conf"\ncontent = "port = 80\\n"\n'


@pytest.fixture(params=["snapshot", "qcow2", "raw"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A built VM that can be started, with a root of each format, and a work disk."""
    debian = Project(tmp_path)
    write_tar(tmp_path / "root.tar", DEBIAN)
    (debian.directory / "vmlinux").write_bytes(elf())
    image = f'[image.debian]\nkernel = "vmlinux"\n{IMAGE}'
    vm = f'[vm.web]\nimage = "debian"\nwork.size = "32MiB"\nroot.format = "{request.param}"\n'
    debian.write(f"{image}{vm}{FILE}")
    debian.build()
    return debian


def known(project: Project) -> dict[str, dict[str, Any]]:
    """What a record would have of the VM's disks."""
    loaded, opened = pipeline.load_request(project.request()), store.read(project.store)
    steps = graph.all_steps(loaded.wanted)
    ((name, (_, _, disks)),) = startable.plain(steps, Recorded(opened), opened.settled_ledgers)
    assert name == "web"
    assert marshal.dumps(disks)
    return disks


def is_good(project: Project) -> bool:
    """What is told of both disks; a plan says the same."""
    disks = known(project)
    assert len(disks) == 2
    for name in disks:
        os.utime(project.store / name, ns=(1, 1))  # somebody has touched it
    told = are_as_declared(disks, disks, str(project.store))
    verbs = {action.verb for action in project.plan().values()}
    assert told == (verbs == {Verb.KEEP})
    return told


def guest_writes(project: Project, part: str, write: Callable[[OpenedDisk], object]) -> None:
    name, disk = next(item for item in known(project).items() if f"/{part}." in item[0])
    base = Base(project.store / disk["base"], disk["base"]) if disk["base"] else None
    stored = StoredDisk(project.store / name, name, base)
    with formats.named(disk["format"]).transaction(stored, ALONE, EPOCH) as opened:
        write(opened)


def test_what_a_guest_writes_of_its_own_keeps_it_as_declared(project: Project) -> None:
    assert is_good(project)
    guest_writes(project, "root", lambda disk: disk.write_file("/var/log/syslog", b"booted\n"))
    guest_writes(project, "work", lambda disk: disk.write_file("/history", b"ls\n"))
    assert is_good(project)


def test_a_declared_file_that_its_guest_changed_is_a_plans(project: Project) -> None:
    guest_writes(project, "root", lambda disk: disk.write_file("/etc/app.conf", b"port = 81\n"))
    assert not is_good(project)


def test_a_disk_of_another_size_is_a_plans(project: Project) -> None:
    with (project.store / "vms/web/work.ext4").open("r+b") as disk:
        disk.truncate(48 << 20)
    assert not are_as_declared(known(project), ["vms/web/work.ext4"], str(project.store))


def test_a_disk_that_is_damaged_or_unknown_is_a_plans(project: Project) -> None:
    with (project.store / "vms/web/work.ext4").open("r+b") as disk:
        disk.write(bytes(4096))
    assert not are_as_declared(known(project), ["vms/web/work.ext4"], str(project.store))
    assert not are_as_declared(known(project), ["vms/web/qemu.sh"], str(project.store))


def test_a_patch_that_was_never_confirmed_is_a_plans(project: Project) -> None:
    with store.writing(project.store, timeout_seconds=0) as opened:
        opened.intend("vm.web.root.patch", {"/etc/app.conf": "directory"})
    assert list(known(project)) == ["vms/web/work.ext4"]
