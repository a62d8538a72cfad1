"""Disks that their guests have damaged, in every part that matters: planned, patched, listed and read.

Whatever is there, a run goes on with the other VMs, an error names the disk, and no image changes.
"""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.snapshot_store import SnapshotStore
from tests.disk.ext4_tools import is_clean
from tests.hostile.damage import Region, damaged, make_target, regions
from tests.hostile.running import Ran, digest, refusal, run
from tests.manifests import KEY
from tests.projects import Project, merge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

KINDS = {"sums": (), "bare": ("-O", "^metadata_csum")}
HOWS = ("zeros", "numbers")
FEATURES = 1024 + 0x60
NEEDS_RECOVERY = 4
DISKS = {"snapshot": "root.cow", "raw": "root.ext4", "work": "work.ext4"}
PARTS = (
    "superblock",
    "descriptors",
    "block bitmap",
    "inode bitmap",
    "inode of a directory",
    "inode of a file",
    "index of a directory",
    "names of a directory",
    "attributes",
    "map of a file",
    "journal",
)
HEAD = """
[image.sums]
rootfs.ext4 = "sums.ext4"
work_seed.ext4 = "sums.ext4"
[image.bare]
rootfs.ext4 = "bare.ext4"
work_seed.ext4 = "bare.ext4"
[defaults]
ssh_authorized_keys = ["{key}"]
network.dns = ["{dns}"]
"""
"""The seed is a root filesystem too, so that a work disk has all that can be damaged."""


@dataclass(frozen=True)
class Case:
    """One damaged disk of one VM."""

    kind: str
    form: str
    part: str
    how: str

    @property
    def vm(self) -> str:
        return f"{self.kind}-{self.form}-{self.part}-{self.how}".replace(" ", "-")

    @property
    def disk(self) -> str:
        """Relative to the store."""
        return f"vms/{self.vm}/{DISKS[self.form]}"

    @property
    def patch(self) -> str:
        return f"vm.{self.vm}.{'work' if self.form == 'work' else 'root'}.patch"

    def manifest(self, dns: str) -> str:
        """The VM, with a file that differs each time, on the disk that is damaged."""
        work = '{ mount = "/work" }' if self.form == "work" else "false"
        path = "/work/etc/hostname" if self.form == "work" else "/etc/motd"
        root = "snapshot" if self.form == "work" else self.form
        return (
            f'[vm.{self.vm}]\nimage = "{self.kind}"\nroot.format = "{root}"\nwork = {work}\n'
            f'file = [{{ guest = "{path}", content = "{dns}" }}]\n'
        )


CASES = [Case(kind, form, part, how) for kind in KINDS for form in DISKS for part in PARTS for how in HOWS]


@dataclass(frozen=True)
class Damaged:
    """A project all of whose disks were damaged, and what the commands said then."""

    project: Project
    was_clean: Mapping[Case, bool]
    """Whether e2fsck had nothing to say to a disk after it was damaged."""
    disks: Mapping[Case, str]
    """The digests of the disks, damaged as they are."""
    images: Mapping[Path, str]
    runs: Mapping[str, Ran]

    def actions(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[run].stdout)["actions"]}


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    project = Project(tmp_path_factory.mktemp("guests"))
    top = project.directory
    parts = {kind: regions(make_target(top / f"{kind}.ext4", *KINDS[kind])) for kind in KINDS}
    declare(project, "10.0.0.1")
    run("apply", "-q", cwd=top).assert_fine(0)
    for case in CASES:
        damage_disk(project, case, parts[case.kind][case.part])
    was_clean = {case: is_clean(whole(project, case)) for case in CASES}
    disks = {case: digest(project.store / case.disk) for case in CASES}
    images = {path: digest(path) for path in project.store.glob("images/*/*/*.ext4")}
    declare(project, "10.0.0.2")
    commands = {
        "plan": ("plan", "--json"),
        "status": ("status", "--json"),
        "apply": ("apply", "-k", "-q", "--json"),
        "again": ("apply", "-k", "-q", "--json"),
    }
    return Damaged(
        project,
        was_clean,
        disks,
        images,
        {name: run(*command, cwd=top) for name, command in commands.items()},
    )


def declare(project: Project, dns: str) -> None:
    project.write(HEAD.format(key=KEY, dns=dns) + "".join(case.manifest(dns) for case in CASES))


def damage_disk(project: Project, case: Case, part: Region) -> None:
    """Write to a disk as its guest does."""
    chance = random.Random(case.vm)  # noqa: S311 - damage, not cryptography
    path = project.store / case.disk
    with ExitStack() as stack:
        disk: RawFile | SnapshotStore
        if case.form == "snapshot":
            base = stack.enter_context(RawFile(project.base(case.vm)))
            disk = stack.enter_context(SnapshotStore(base, path, writable=True))
        else:
            disk = stack.enter_context(RawFile(path, writable=True, durable=False))
        disk.write(part.offset, damaged(disk.read(*part), case.how, chance))
        if case.part == "journal" and case.kind == "bare":  # there, no checksum would tell
            (features,) = disk.read(FEATURES, 1)
            disk.write(FEATURES, bytes([features | NEEDS_RECOVERY]))
        disk.flush()


def whole(project: Project, case: Case) -> Path:
    """A disk as a raw file."""
    path = project.store / case.disk
    if case.form != "snapshot":
        return path
    target = project.directory / "merged.ext4"
    target.unlink(missing_ok=True)
    return merge(project.base(case.vm), path, target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.vm)
def test_a_damaged_disk_is_patched_well_or_refused_by_name(hurt: Damaged, case: Case) -> None:
    action = hurt.actions("apply")[case.patch]
    if action["result"] == "done":
        assert not hurt.was_clean[case] or is_clean(whole(hurt.project, case))
        return
    assert not hurt.was_clean[case]
    said, way_out = refusal(action)
    assert f"'{case.disk}'" in said
    assert way_out
    assert ".staging" not in json.dumps(action)
    assert digest(hurt.project.store / case.disk) == hurt.disks[case]


@pytest.mark.parametrize("name", ["plan", "status", "apply", "again"])
def test_every_run_ends_in_time_and_in_bounds(hurt: Damaged, name: str) -> None:
    hurt.runs[name].assert_fine(0 if name in {"plan", "status"} else 1, disks=len(CASES))


def test_most_damage_is_noticed_and_what_is_not_is_patched(hurt: Damaged) -> None:
    results = [hurt.actions("apply")[case.patch]["result"] for case in CASES]
    assert results.count("failed") + results.count("skipped") > len(CASES) // 3
    assert results.count("done") > len(CASES) // 10


def test_no_image_changes(hurt: Damaged) -> None:
    assert {path: digest(path) for path in hurt.images} == hurt.images


def some_of(cases: list[Case]) -> Iterator[Case]:
    """One of each part, with all kinds and forms in turn."""
    for number, part in enumerate(PARTS):
        own = [case for case in cases if case.part == part]
        yield own[number * 5 % len(own)]


@pytest.mark.parametrize("case", list(some_of(CASES)), ids=lambda case: case.vm)
def test_a_damaged_disk_is_listed_and_read_or_refused(hurt: Damaged, case: Case) -> None:
    for command in (("ls", "-l"), ("cat",)):
        path = "/etc" if command[0] == "ls" else "/etc/hosts"
        ran = run(*command, f"build/{case.disk}", path, cwd=hurt.project.directory)
        ran.assert_fine(0, 1)
        assert ran.code == 0 or case.disk in ran.stderr
