from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.declared import VM, Disk, Mount, Work
from bangerbuild.guest.placement import ROOT, Placement
from bangerbuild.tree import DiskMount

NESTED = Placement({"work": "/root", "data": "/data", "cache": "/root/cache", "log": "/data/log"})


def vm(*disks: Disk, work: Work | None) -> VM:
    return VM("web", "debian", "web", work=work, disks=disks)


def test_the_work_disk_comes_first_and_each_disk_goes_by_its_label() -> None:
    disks = (Disk("data", 1 << 30, "/srv//data/"), Disk("a", 1 << 30, "/a"))
    placement = Placement.of(vm(*disks, work=Work(mount="/home/./me")))
    assert list(placement.mount_points.items()) == [
        ("work", "/home/me"),
        ("data", "/srv/data"),
        ("a", "/a"),
    ]


def test_a_vm_without_other_disks_has_everything_on_its_root() -> None:
    placement = Placement.of(vm(work=None))
    assert placement.lands_on("/root/.ssh/authorized_keys", ROOT)
    assert placement.place(ROOT) == DiskMount("/", frozenset())
    assert placement.fstab() == ()


@pytest.mark.parametrize(
    ("path", "mount_point"),
    [
        ("/root/.bashrc", "/root"),
        ("/root", "/root"),
        ("/root/cache/x", "/root/cache"),
        ("/root/cached/x", "/root"),
        ("/rooted", "/"),
        ("/data/log/today", "/data/log"),
        ("/data/logs", "/data"),
        ("//data/./log//today", "/data/log"),
        ("/etc/fstab", "/"),
        ("/", "/"),
    ],
)
def test_a_path_lands_on_the_disk_whose_mount_point_is_its_longest_prefix(
    path: str, mount_point: str
) -> None:
    landed = [point for point in (*NESTED.mount_points.values(), ROOT) if NESTED.lands_on(path, point)]
    assert landed == [mount_point]


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map("/".join).map("/".__add__)


@given(points=st.lists(NAMES, unique=True, max_size=4), path=NAMES)
def test_every_path_lands_on_exactly_one_disk_and_none_nearer_holds_it(points: list[str], path: str) -> None:
    placement = Placement({f"disk{number}": point for number, point in enumerate(points)})
    (landed,) = [point for point in (*points, ROOT) if placement.lands_on(path, point)]
    parts = path.split("/")
    above = ["/".join(parts[:length]) or ROOT for length in range(1, len(parts) + 1)]
    assert landed == [point for point in above if point in (*points, ROOT)][-1]


def test_a_disk_knows_where_the_others_are_mounted() -> None:
    assert NESTED.place("/data") == DiskMount("/data", frozenset({"/root", "/root/cache", "/data/log"}))
    assert NESTED.place(ROOT) == DiskMount("/", frozenset(NESTED.mount_points.values()))


def test_fstab_names_disks_by_label_and_mounts_one_before_those_inside_it() -> None:
    placement = Placement({"work": "/root/work", "data": "/root"})
    assert placement.fstab() == (
        Mount("LABEL=data", "/root", "ext4", ("defaults",), 0, 2),
        Mount("LABEL=work", "/root/work", "ext4", ("defaults",), 0, 2),
    )


def test_a_disk_holds_the_directories_that_others_are_mounted_on() -> None:
    disks = (Disk("cache", 1 << 30, "/root/cache"), Disk("deep", 1 << 30, "/root/cache/a/b"))
    mounts = (Mount("tmpfs", "/root/tmp", "tmpfs"), Mount("/dev/vdz", "none", "swap"))
    guest = replace(vm(*disks, work=Work()), mounts=mounts)
    placement = Placement.of(guest)
    assert placement.inside(guest, "/root") == ("/root/cache", "/root/tmp")
    assert placement.inside(guest, "/root/cache") == ("/root/cache/a/b",)
    assert placement.inside(guest, "/root/cache/a/b") == ()
