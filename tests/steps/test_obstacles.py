"""What stands where a patch is to write: plan and apply say the same of it, whoever put it there."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.model import Outcome, Verb
from bangerbuild.model.request import RunOptions
from tests.disk.ext4_tools import assert_clean, change_superblock, debugfs, remove_magic
from tests.fakes import RecordingReporter
from tests.projects import DEBIAN, Project, by_id, reasons, write_tar
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.disk.ext4 import Filesystem

IMAGE = '[image.debian]\nrootfs = { tar = "root.tar", size = "24MiB" }\n'
VM = '[vm.web]\nimage = "debian"\nroot.format = "raw"\nwork.size = "16MiB"\nguest.network = false\n'
SYNC = '[[vm.web.file_sync]]\nhost = "host"\nguest = "{guest}"\n'
PLACES = {"root": "/srv/it", "work": "/root/it"}
KINDS = ("file", "directory", "symlink")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_tar(tmp_path / "root.tar", DEBIAN)
    return Project(tmp_path)


def put(project: Project, kind: str) -> None:
    """What the host has, of a kind; as stow makes it, a symlink in the place of a directory."""
    place = project.directory / "host/it"
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    if kind == "file":
        place.write_text("a file\n")
    elif kind == "symlink":
        place.symlink_to("elsewhere")
    else:
        (place / "below").mkdir(parents=True)
        (place / "below/leaf").write_text("a leaf\n")


def disk_of(project: Project, name: str) -> Path:
    return project.store / f"vms/web/{name}.ext4"


def kind_of(disk: Path, path: str) -> str:
    """What debugfs says is there."""
    said = debugfs(disk, f'stat "{path}"').decode()
    return {"regular": "file"}.get(found := said.split("Type: ")[1].split()[0], found)


def on_disk(name: str) -> str:
    """Where a synced `it` lies on its own disk."""
    return "/srv/it" if name == "root" else "/it"


def write(project: Project, name: str, act: Callable[[Filesystem], object]) -> None:
    with as_guest(disk_of(project, name)) as disk:
        act(disk)


def declared(name: str) -> str:
    return IMAGE + VM + SYNC.format(guest=PLACES[name].rpartition("/")[0])


@pytest.mark.parametrize("use", ["unwritten", "written"])
@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(KINDS, 2)))
def test_what_we_put_there_is_replaced_by_another_kind(
    project: Project, name: str, before: str, after: str, use: str
) -> None:
    project.write(declared(name))
    put(project, before)
    project.build()
    if use == "written":
        write(project, name, lambda disk: disk.write_file("/own", b"a guest's"))
    put(project, after)
    assert project.plan()[f"vm.web.{name}.patch"].verb is Verb.UPDATE
    project.build()
    assert kind_of(disk_of(project, name), on_disk(name)) == after
    assert_clean(disk_of(project, name))
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("after", ["file", "symlink"])
@pytest.mark.parametrize(
    "change", ["another file", "another content", "another mode", "its mode", "the mode below", "its owner"]
)
def test_a_directory_that_the_guest_changed_is_in_the_way(
    project: Project, name: str, after: str, change: str
) -> None:
    project.write(declared(name))
    put(project, "directory")
    project.build()
    leaf = f"{on_disk(name)}/below/leaf"
    write(
        project,
        name,
        {
            "another file": lambda disk: disk.write_file(f"{on_disk(name)}/own", b"a guest's"),
            "another content": lambda disk: disk.write_file(leaf, b"a guest's"),
            "another mode": lambda disk: disk.set_attributes(leaf, mode=0o600),
            "its mode": lambda disk: disk.set_attributes(on_disk(name), mode=0o700),
            "the mode below": lambda disk: disk.set_attributes(f"{on_disk(name)}/below", mode=0o1777),
            "its owner": lambda disk: disk.set_attributes(on_disk(name), uid=33, gid=33),
        }[change],
    )
    put(project, after)
    before = disk_of(project, name).read_bytes()
    reason = project.blocked(f"vm.web.{name}.patch")
    assert (reason["code"], reason["guest"]) == ("path-in-the-way", PLACES[name])
    assert disk_of(project, name).read_bytes() == before


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("before", ["file", "symlink"])
def test_a_file_that_the_guest_changed_is_in_the_way_of_a_directory(
    project: Project, name: str, before: str
) -> None:
    project.write(declared(name))
    put(project, before)
    project.build()
    write(project, name, lambda disk: disk.write_file(on_disk(name), b"a guest's"))
    put(project, "directory")
    reason = project.blocked(f"vm.web.{name}.patch")
    assert (reason["code"], reason["guest"], reason["there"]) == ("path-in-the-way", PLACES[name], "file")


def test_a_directory_on_the_way_that_the_guest_changed_is_in_the_way(project: Project) -> None:
    entry = '[[vm.web.file]]\nguest = "{guest}"\ncontent = "x"\n'
    project.write(IMAGE + VM + entry.format(guest="/root/a/b"))
    project.build()
    write(project, "work", lambda disk: disk.set_attributes("/a", mode=0o700))
    project.write(IMAGE + VM + entry.format(guest="/root/a"))
    reason = project.blocked("vm.web.work.patch")
    assert (reason["code"], reason["guest"]) == ("path-in-the-way", "/root/a")


def test_what_lies_where_the_new_symlink_leads_is_the_guests(project: Project) -> None:
    project.write(declared("work"))
    put(project, "directory")
    project.build()

    def keep(disk: Filesystem) -> None:
        disk.make_directory("/elsewhere")
        disk.make_directory("/elsewhere/below")
        disk.write_file("/elsewhere/below/leaf", b"a leaf\n", mode=0o644)

    write(project, "work", keep)
    put(project, "symlink")
    project.build()
    assert debugfs(disk_of(project, "work"), "cat /elsewhere/below/leaf") == b"a leaf\n"


def test_a_file_that_was_declared_makes_room_for_one_below_it(project: Project) -> None:
    entry = '[[vm.web.file]]\nguest = "{guest}"\ncontent = "x"\n'
    project.write(IMAGE + VM + entry.format(guest="/root/a"))
    project.build()
    project.write(IMAGE + VM + entry.format(guest="/root/a/b"))
    project.build()
    assert kind_of(disk_of(project, "work"), "/a/b") == "file"
    project.write(IMAGE + VM + entry.format(guest="/root/a"))
    project.build()
    assert kind_of(disk_of(project, "work"), "/a") == "file"


def test_a_new_root_whose_image_is_in_the_way_is_not_made(project: Project) -> None:
    project.write(IMAGE)
    project.build()
    project.write(IMAGE + VM + '[[vm.web.file]]\nguest = "/etc/ssh"\ncontent = ""\n')
    reason = project.blocked("vm.web.root.patch")
    assert (reason["code"], reason["guest"], reason["there"]) == ("path-in-the-way", "/etc/ssh", "directory")
    assert not disk_of(project, "root").exists()


def test_an_image_with_a_directory_in_the_place_of_a_default_is_said(project: Project) -> None:
    files = {name: data for name, data in DEBIAN.items() if name != "etc/hostname"}
    write_tar(project.directory / "root.tar", {**files, "etc/hostname/x": ""})
    project.write(IMAGE)
    project.build()
    project.write(IMAGE + VM)
    assert project.blocked("vm.web.root.patch")["guest"] == "/etc/hostname"


# Whatever state a disk is in, apply does what the plan says


def directory(disk: Filesystem) -> None:
    disk.make_directory("/etc/app.conf.d")
    disk.write_file("/etc/app.conf.d/own", b"")


STATES: dict[str, Callable[[Path], None]] = {
    "as it was": lambda _: None,
    "written": lambda disk: guest(disk, lambda one: one.write_file("/own", b"x")),
    "a directory in the way": lambda disk: guest(disk, directory),
    "a file on the way": lambda disk: guest(disk, lambda one: one.write_file("/opt", b"x")),
    "a loop on the way": lambda disk: guest(disk, lambda one: one.make_symlink("/opt", "opt")),
    "marked with errors": lambda disk: change_superblock(disk, state=2),
    "an unknown feature": lambda disk: change_superblock(disk, feature_ro_compat=1 << 30),
    "no filesystem": remove_magic,
    "cut": lambda disk: truncate(disk, 4096),
    "empty": lambda disk: truncate(disk, 0),
}


def guest(path: Path, act: Callable[[Filesystem], object]) -> None:
    with as_guest(path) as disk:
        act(disk)


def truncate(path: Path, size_bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size_bytes)


EDITS = {
    "nothing": "",
    "a file": '[[vm.web.file]]\nguest = "/etc/app.conf.d"\ncontent = "x"\n',
    "a deep file": '[[vm.web.file]]\nguest = "/opt/a/b"\ncontent = "x"\n',
    "an unknown owner": '[[vm.web.file]]\nguest = "/etc/x"\ncontent = ""\nowner = "nobody:root"\n',
    "a larger root": 'root.size = "32MiB"\n',
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("state", STATES)
def test_apply_does_what_the_plan_says(project: Project, state: str, edit: str) -> None:
    text = IMAGE + VM.replace('work.size = "16MiB"', "work = false")
    project.write(text)
    project.build()
    STATES[state](disk_of(project, "root"))
    project.write(text + EDITS[edit])
    planned = project.plan()
    before = disk_of(project, "root").read_bytes()
    loaded = pipeline.load_request(project.request())
    plan, results = pipeline.apply(
        loaded, options=RunOptions(2, keep_going=True, lock_seconds=0), reporter=RecordingReporter()
    )
    applied = by_id(plan)
    assert {key: (one.verb, reasons(one)) for key, one in planned.items()} == {
        key: (one.verb, reasons(one)) for key, one in applied.items()
    }
    for result in results:
        expected = Outcome.DONE if applied[result.id].pending else Outcome.SKIPPED
        assert result.outcome is expected, result
    pending = {one.verb for one in applied.values()} - {Verb.KEEP, Verb.BLOCKED}
    assert pending or disk_of(project, "root").read_bytes() == before
