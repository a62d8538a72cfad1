"""A walk through states of disks and edits of a manifest: what a plan says is what the run does."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BangerError
from bangerbuild.model import Outcome, Verb
from bangerbuild.model.request import RunOptions
from bangerbuild.tree import ALONE
from tests.disk.ext4_tools import assert_clean, change_superblock, remove_magic
from tests.fakes import EPOCH, RecordingReporter
from tests.kernel.making import elf
from tests.need import need
from tests.projects import DEBIAN, Disk, Project, by_id, reasons, write_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk

BOOT = 'kernel = { guest = "/boot/vmlinuz-*" }\ninitrd = { guest = "/boot/initrd.img-*" }\n'
IMAGE = f"""\
[image.debian]
{BOOT}[image.debian.rootfs]
tar = "root.tar"
size = "24MiB"
overlay_init = true
"""
PROGRAMS = "".join(
    f'[[image.debian.file]]\nguest = "/bin/{name}"\ncontent = ""\nmode = "0755"\n'
    for name in ("sh", "mount", "mkdir", "cat", "sleep", "pivot_root")
)
MOVED = "[image.other]\n{source}\n"
SOURCES = (
    'kernel = { guest = "/boot/vmlinuz-*" }\nrootfs = { tar = "root.tar", size = "25MiB" }',
    'rootfs = { tar = "root.tar", size = "25MiB" }',
    'rootfs = { tar = "junk", size = "25MiB" }',
    'rootfs = { ext4 = "junk" }',
    'rootfs = { directory = "large", size = "16MiB" }',
    'kernel = "junk"\nrootfs = { tar = "root.tar", size = "25MiB" }',
)
"""What the image may be made of that VMs move to: it has no initrd, and some can't be made."""
VM = """
[vm.{name}]
image = "{image}"
guest.network = false
{more}
root.format = "{name}"
work.size = "{work}"
[[vm.{name}.file_sync]]
host = "host"
guest = "/srv"
[[vm.{name}.file_sync]]
host = "host"
guest = "~/own"
[[vm.{name}.file]]
guest = "/opt/a/b"
content = "{content}"
owner = "{owner}"
"""
DEFAULTS = {"image": "debian", "more": "", "work": "16MiB", "content": "x", "owner": "root:root"}
EDITS = {
    "image": ("debian", "other"),
    "more": ("", 'hostname = "new-{name}"', 'root.size = "48MiB"', 'root.on_new_base = "keep"'),
    "work": ("16MiB", "24MiB", "32MiB"),
    "content": ("x", "y"),
    "owner": ("root:root", "www-data:www-data", "nobody-knows:root"),
}
FILES = {"raw": "root.ext4", "snapshot": "root.cow", "qcow2": "root.qcow2", "overlay": "root.upper.ext4"}
LEFT = {Verb.KEEP, Verb.BLOCKED}


class Walk:
    """A project with a VM of each format, to which something happens at each step."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # nothing is kept secret
        self.project = Project(directory)
        self.values = {name: dict(DEFAULTS) for name in FILES}
        self.source = SOURCES[0]
        self.boot = BOOT
        self.bases = itertools.count()
        self.happened: list[str] = []
        (directory / "junk").write_bytes(b"neither this nor that" * 1000)
        (directory / "large").mkdir()
        (directory / "large/file").write_bytes(b"data" * (5 << 20))
        self.host("file")
        self.base()
        self.write()

    def host(self, kind: str) -> None:
        """What is synced, of a kind."""
        place = self.project.directory / "host/it"
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        place.parent.mkdir(exist_ok=True)
        if kind == "symlink":
            place.symlink_to("elsewhere")
        elif kind in {"file", "large"}:
            place.write_text("a file\n" * (1 if kind == "file" else 1 << 22))
        else:
            (place / "below").mkdir(parents=True)
            (place / "below/leaf").write_text("a leaf\n")

    def base(self) -> None:
        release = f"6.{next(self.bases)}.0"
        more = {
            f"boot/vmlinuz-{release}": elf(release=release),
            f"boot/initrd.img-{release}": b"070701" + release.encode().ljust(512, b"\0"),
        }
        write_tar(self.project.directory / "root.tar", {**DEBIAN, **more})

    def move_to(self, source: str) -> None:
        self.source = source
        self.happened.append(f"  {source}")

    def all_move(self) -> None:
        for name in self.values.keys() - {"overlay"}:
            self.values[name]["image"] = "other"

    def lose_boot_files(self) -> None:
        for path in self.project.store.glob("images/*/*/*"):
            if path.name in {"vmlinuz", "vmlinux", "initrd.img"}:
                path.unlink()

    def write(self) -> None:
        vms = "".join(
            VM.format(name=name, **values).replace("{name}", name) for name, values in self.values.items()
        )
        self.project.write(IMAGE.replace(BOOT, self.boot) + PROGRAMS + MOVED.format(source=self.source) + vms)

    def root(self, name: str) -> Path:
        return self.project.store / "vms" / name / FILES[name]

    def work(self, name: str) -> Path:
        return self.project.store / "vms" / name / "work.ext4"

    def guest(self, name: str, act: Callable[[OpenedDisk], object]) -> None:
        """Something written by the guest; a disk that can't be opened has none that runs."""
        base = self.project.base(name)
        artifact = str(base.relative_to(self.project.store))
        disk = StoredDisk(self.root(name), self.root(name).name, Base(base, artifact))
        try:
            with FORMATS[name].transaction(disk, ALONE, EPOCH) as tree:
                act(tree)
        except BangerError as err:
            self.happened.append(f"  nothing: {err.brief}")

    def happen(self) -> None:
        """One thing, to one VM or to all."""
        name = self.random.choice(sorted(FILES))
        what = self.random.choice(sorted(ACTS))
        self.happened.append(f"{name}: {what}")
        ACTS[what](self, name)
        self.write()

    def edit(self, name: str) -> None:
        key = self.random.choice(sorted(EDITS))
        if (key, name) == ("image", "overlay"):  # the other image has no init for it
            return
        self.values[name][key] = self.random.choice(EDITS[key])
        self.happened.append(f"  {key} = {self.values[name][key]}")

    def found(self) -> Mapping[str, tuple[int, ...] | None]:
        """Of each root and work disk, what changes with every write and every rename."""
        disks = {f"vm.{name}.root": self.root(name) for name in FILES}
        disks |= {f"vm.{name}.work": self.work(name) for name in FILES}
        return {key: stamp(path) if path.is_file() else None for key, path in disks.items()}

    def step(self, *replace: str) -> bool:
        """Plan and apply, and compare; whether anything is blocked."""
        request = self.project.request(*replace)
        planned = by_id(pipeline.plan(pipeline.load_request(request)))
        before = self.found()
        plan, results = pipeline.apply(
            pipeline.load_request(request),
            options=RunOptions(2, keep_going=True, lock_seconds=0),
            reporter=RecordingReporter(),
        )
        said = {key: (one.verb, reasons(one)) for key, one in planned.items()}
        assert said == {key: (one.verb, reasons(one)) for key, one in by_id(plan).items()}, self.happened
        for result in results:
            expected = Outcome.SKIPPED if planned[result.id].verb in LEFT else Outcome.DONE
            assert result.outcome is expected, (self.happened, result)
        after = self.found()
        for disk in before:
            if planned[disk].verb in LEFT and planned[f"{disk}.patch"].verb in LEFT:
                assert before[disk] == after[disk], (disk, self.happened)
        return self.settled()

    def settled(self) -> bool:
        """Nothing is left to do; what is not blocked is in order, as e2fsck has it."""
        planned = by_id(pipeline.plan(pipeline.load_request(self.project.request())))
        left = {key: one.verb for key, one in planned.items()}
        assert set(left.values()) <= LEFT, ({k: v for k, v in left.items() if v not in LEFT}, self.happened)
        for name in FILES:
            for disk, path in ((f"vm.{name}.root", self.root(name)), (f"vm.{name}.work", self.work(name))):
                if left[disk] is Verb.KEEP and not planned[disk].is_damaged:
                    assert_clean(self.readable(name, path))
            if left[f"vm.{name}.launch"] is Verb.KEEP:
                self.starts_with_its_own(name)
        return Verb.BLOCKED in left.values()

    def starts_with_its_own(self, name: str) -> None:
        """The launch files name the kernel and the initrd of the image that the root stands on."""
        script = self.root(name).with_name("qemu.sh")
        text = script.read_text() if script.exists() else ""
        named = {place.rpartition("/")[2]: place for place in re.findall(r"images/[\w/.-]+", text)}
        own = Disk(self.project.base(name)).names("/boot")
        for file in named.keys() & {"vmlinuz", "initrd.img"}:
            content = (self.project.store / named[file]).read_bytes()
            assert any(one.partition("-")[2].encode() in content for one in own), (name, file, self.happened)

    def readable(self, name: str, path: Path) -> Path:
        """A disk as e2fsck can read it."""
        if path.name == "root.cow":
            return self.project.guest(name).path
        if path.name != "root.qcow2":
            return path
        target = self.project.directory / "converted.ext4"
        command = [need("qemu-img"), "convert", "-O", "raw", str(path), str(target)]
        subprocess.run(command, check=True)
        return target


def stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def in_the_way(tree: OpenedDisk) -> None:
    for path in ("/srv/it", "/opt/a/b"):
        found = tree.stat(path, follow=False)
        if found is not None and found.type.value != "directory":
            tree.remove(path)
    for path in ("/srv", "/srv/it", "/srv/it/own"):
        tree.make_directory(path)


def to(path_of: Callable[[Walk, str], Path], act: Callable[[Path], object]) -> Callable[[Walk, str], object]:
    """What is done to a file, if it is there."""

    def acted(walk: Walk, name: str) -> None:
        path = path_of(walk, name)
        if path.exists():
            act(path)

    return acted


ACTS: dict[str, Callable[[Walk, str], object]] = {
    "an edit": Walk.edit,
    "another edit": Walk.edit,
    "a file on the host": lambda walk, _: walk.host("file"),
    "a directory on the host": lambda walk, _: walk.host("directory"),
    "a symlink on the host": lambda walk, _: walk.host("symlink"),
    "a file on the host that no disk has room for": lambda walk, _: walk.host("large"),
    "another image to move to": lambda walk, _: walk.move_to(walk.random.choice(SOURCES)),
    "all move": lambda walk, _: walk.all_move(),
    "the image drops its initrd": lambda walk, _: setattr(walk, "boot", BOOT.split("initrd", maxsplit=1)[0]),
    "the image has its initrd again": lambda walk, _: setattr(walk, "boot", BOOT),
    "kernels and initrds are gone": lambda walk, _: walk.lose_boot_files(),
    "a new image": lambda walk, _: walk.base(),
    "the guest writes": lambda walk, name: walk.guest(name, lambda tree: tree.write_file("/own", b"x")),
    "the guest changes what is declared": lambda walk, name: walk.guest(
        name, lambda tree: tree.write_file("/opt/a/b", b"other")
    ),
    "the guest puts a directory there": lambda walk, name: walk.guest(name, in_the_way),
    "the root is gone": lambda walk, name: walk.root(name).unlink(missing_ok=True),
    "the work disk is gone": lambda walk, name: walk.work(name).unlink(missing_ok=True),
    "the root is empty": lambda walk, name: walk.root(name).write_bytes(b""),
    "the root is cut": to(Walk.root, lambda path: os.truncate(path, 8192)),
    "the root was copied": to(Walk.root, os.utime),
    "the work disk is marked": to(Walk.work, lambda path: change_superblock(path, state=2)),
    "the work disk has no magic": to(Walk.work, remove_magic),
    "a launch file is gone": to(lambda walk, name: walk.root(name).with_name("attach.sh"), os.unlink),
}


@pytest.mark.parametrize("seed", range(3))
def test_apply_does_what_the_plan_says_wherever_a_walk_leads(tmp_path: Path, seed: int) -> None:
    walk = Walk(tmp_path, seed)
    walk.step()
    for _ in range(8):
        walk.happen()
        if walk.step() and walk.random.random() < 0.6:  # else more happens to what is blocked
            walk.happened.append("all blocked disks are replaced")
            walk.values = {name: {**values, "owner": "root:root"} for name, values in walk.values.items()}
            walk.write()
            planned = by_id(pipeline.plan(pipeline.load_request(walk.project.request())))
            disks = {key.removesuffix(".patch") for key, one in planned.items() if one.verb is Verb.BLOCKED}
            walk.step(
                *sorted(disk for disk in disks if disk.startswith("vm.") and not disk.endswith(".launch"))
            )
