"""Images that rotted in the store, under the roots of VMs: never changed, whatever is done.

An image whose damage shows in its mtime is another matter: it is made again from its source.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.disk.ext4_tools import is_clean
from tests.hostile.damage import Region, damaged, make_target, regions
from tests.hostile.running import Ran, digest, everything_but, refusal, run
from tests.manifests import KEY
from tests.projects import Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
KINDS = {"sums": (), "bare": ("-O", "^metadata_csum")}
HOWS = ("ones", "flipped", "mixed up")
HEAD = """
[defaults]
ssh_authorized_keys = ["{key}"]
network.dns = ["{dns}"]
"""
VM = """
[image.{0}]
rootfs.ext4 = "{1}.ext4"
[vm.{0}]
image = "{0}"
"""
NEW = """
[vm.{0}-new]
image = "{0}"
"""


@dataclass(frozen=True)
class Case:
    """One image and what was done to it."""

    kind: str
    part: str
    how: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.part}-{self.how}".replace(" ", "-")


CASES = [
    *(Case("bare", part, how) for part in PARTS for how in HOWS),
    *(Case("sums", part, "flipped") for part in PARTS),
]


@dataclass(frozen=True)
class Damaged:
    """A project whose images were damaged after its VMs had been built, half of them run by their guests."""

    project: Project
    images: Mapping[Path, str]
    """The digests of the images, damaged as they are."""
    outside: Mapping[str, str]
    was_clean: Mapping[Case, bool]
    runs: Mapping[str, Ran]

    def actions(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[run].stdout)["actions"]}


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    project = Project(tmp_path_factory.mktemp("bases"))
    top = project.directory
    parts = {kind: regions(make_target(top / f"{kind}.ext4", *KINDS[kind])) for kind in KINDS}
    declare(project, "10.0.0.1")
    run("apply", "-q", cwd=top).assert_fine(0)
    for case in CASES[::2]:
        with project.as_guest(case.name) as disk:
            disk.write_file("/srv/sentinel", b"the guest's")
    for case in CASES:
        rot(project.image(case.name), parts[case.kind][case.part], case)
    was_clean = {case: is_clean(project.image(case.name)) for case in CASES}
    images = {project.image(case.name): digest(project.image(case.name)) for case in CASES}
    outside = everything_but(project.store, top)
    declare(project, "10.0.0.2", NEW)
    commands = {
        "plan": ("plan", "--json"),
        "status": ("status", "--json"),
        "apply": ("apply", "-k", "-q", "--json"),
    }
    runs = {name: run(*command, cwd=top) for name, command in commands.items()}
    return Damaged(project, images, outside, was_clean, runs)


def rot(image: Path, part: Region, case: Case) -> None:
    """Damage an image as a failing device does: `stat` has nothing to say of it."""
    before = image.stat()
    image.chmod(0o600)
    with image.open("r+b") as file:
        file.seek(part.offset)
        old = file.read(part.length)
        file.seek(part.offset)
        file.write(damaged(old, case.how, random.Random(case.name)))  # noqa: S311 - damage, not cryptography
    image.chmod(0o444)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def declare(project: Project, dns: str, more: str = "") -> None:
    project.write(
        HEAD.format(key=KEY, dns=dns) + "".join((VM + more).format(case.name, case.kind) for case in CASES)
    )


def test_no_byte_of_an_image_changes(hurt: Damaged) -> None:
    assert {path: digest(path) for path in hurt.images} == hurt.images


def test_nothing_is_written_but_into_the_store(hurt: Damaged) -> None:
    outside = everything_but(hurt.project.store, hurt.project.directory)
    manifest = str(hurt.project.directory / "vm.toml")
    assert {**outside, manifest: ""} == {**hurt.outside, manifest: ""}


@pytest.mark.parametrize("name", ["plan", "status", "apply"])
def test_every_run_ends_in_time_and_in_bounds(hurt: Damaged, name: str) -> None:
    hurt.runs[name].assert_fine(1 if name == "apply" else 0, disks=len(CASES))


@pytest.mark.parametrize("new", ["", "-new"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_root_on_a_damaged_image_is_patched_well_or_not_at_all(hurt: Damaged, case: Case, new: str) -> None:
    vm = f"{case.name}{new}"
    action = hurt.actions("apply")[f"vm.{vm}.root.patch"]
    if action["result"] == "done":
        guest = hurt.project.guest(vm)
        assert not hurt.was_clean[case] or is_clean(guest.path)
        return
    assert not hurt.was_clean[case]
    said, _ = refusal(action)
    assert f"vms/{vm}/root.cow" in said or f"images/{case.name}/" in said
    if new:
        assert not hurt.project.cow(vm).exists()


@pytest.mark.parametrize("case", CASES[::4], ids=lambda case: case.name)
def test_what_stands_on_a_damaged_image_is_listed_and_read_or_refused(hurt: Damaged, case: Case) -> None:
    for command in (("ls", "-l"), ("cat",)):
        path = "/etc" if command[0] == "ls" else "/etc/hosts"
        ran = run(*command, f"build/vms/{case.name}/root.cow", path, cwd=hurt.project.directory)
        ran.assert_fine(0, 1)
        assert ran.code == 0 or "error: " in ran.stderr


def test_damage_that_stat_tells_of_is_mended_from_the_source(hurt: Damaged) -> None:
    case = next(case for case in CASES if not hurt.was_clean[case])
    os.utime(hurt.project.image(case.name))
    run("apply", "-k", "-q", "--target", f"image.{case.name}", cwd=hurt.project.directory).assert_fine(0)
    assert is_clean(hurt.project.image(case.name))
