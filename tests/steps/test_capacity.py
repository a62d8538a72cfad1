"""What has no room on a disk is said in the plan; what just fits is written, and e2fsck judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import Outcome, Verb
from bangerbuild.steps.capacity import Room, in_blocks
from tests.disk.ext4_tools import assert_clean
from tests.projects import DEBIAN, Project, foretold, write_tar
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
MANIFEST = """\
[image.debian.rootfs]
tar = "root.tar"
size = "24MiB"
[vm.web]
image = "debian"
work.size = "16MiB"
guest.network = false
[[vm.web.disk]]
name = "data"
size = "16MiB"
mount = "/data"
[[vm.web.file_sync]]
host = "host"
guest = "{guest}"
"""
PLACES = {"root": "/srv/big", "work": "~/big", "disk.data": "/data/big"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_tar(tmp_path / "root.tar", DEBIAN)
    return Project(tmp_path)


def put(project: Project, mebibytes: int) -> None:
    (project.directory / "host").write_bytes(b"data" * (mebibytes * MIB // 4))


@pytest.mark.parametrize(("name", "mebibytes"), [("root", 25), ("work", 17), ("work", 14), ("disk.data", 14)])
def test_a_file_that_is_larger_than_its_new_disk_is_known_before(
    project: Project, name: str, mebibytes: int
) -> None:
    project.write(MANIFEST.format(guest=PLACES[name]))
    put(project, mebibytes)
    before = project.plan()
    step = f"vm.web.{name}.patch"
    found = foretold(before[step])
    assert found.brief.startswith(f"what {step} writes takes {mebibytes} MiB, and does not fit in ")
    assert before[f"vm.web.{name}"].verb is Verb.BLOCKED
    results = project.apply()
    assert {one.outcome for one in results.values() if one.error} == set()
    assert results[step].outcome is Outcome.SKIPPED
    assert foretold(project.plan()[step]).brief == found.brief
    put(project, 1)
    project.build()


def test_one_that_has_no_room_beside_what_the_guest_wrote_is_known_before(project: Project) -> None:
    project.write(MANIFEST.format(guest=PLACES["work"]))
    put(project, 4)
    project.build()
    disk = project.store / "vms/web/work.ext4"
    with as_guest(disk) as tree:
        tree.write_file("/own", b"mine" * (MIB // 2))
    put(project, 11)
    before = disk.read_bytes()
    found = foretold(project.plan()["vm.web.work.patch"])
    assert "more than its disk has free" in found.brief
    assert "enlarge the `size` of vm.web.work" in str(found.hint)
    assert project.apply()["vm.web.work.patch"].outcome is Outcome.SKIPPED
    assert disk.read_bytes() == before
    put(project, 7)
    project.build()
    assert_clean(disk)


def test_what_half_fills_a_disk_is_not_even_measured() -> None:
    Room(MIB, is_empty=True).check(MIB // 2, "it", "")
    assert in_blocks(1) == in_blocks(4096) == 4096
