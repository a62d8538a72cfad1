"""What a VM's root and work disk are, beside the image they start from."""

from __future__ import annotations

import pytest

from bangerbuild.declared import Root, Work
from tests.manifest.loading import SEED, loaded, problems_of, vm, write


@pytest.mark.parametrize("size", ["2GiB", "256MiB"])
def test_a_raw_root_has_the_size_of_its_image_or_a_larger_one(size: str) -> None:
    text = (
        f'[image.a.rootfs]\ntar = "root.tar"\nsize = "256MiB"\n[vm.web]\nimage = "a"\nroot.size = "{size}"\n'
    )
    root = loaded(text + 'root.format = "raw"').vms["web"].root
    assert root == Root("raw", {"2GiB": 2 << 30, "256MiB": 256 << 20}[size], "block")


def test_a_raw_root_may_keep_its_base() -> None:
    root = vm('[vm.web]\nimage = "debian"\nroot = { format = "raw", on_new_base = "keep" }').root
    assert root == Root("raw", None, "keep")


def test_a_snapshot_may_be_smaller_than_its_image() -> None:
    text = '[image.a.rootfs]\ntar = "root.tar"\nsize = "2GiB"\n[vm.web]\nimage = "a"\nroot.size = "2MiB"'
    assert loaded(text).vms["web"].root == Root("snapshot", 2 << 20)


@pytest.mark.parametrize(
    ("image", "keys", "work"),
    [
        ("debian", "", None),
        ("debian", "work = false", None),
        ("debian", 'work.size = "1GiB"', Work(1 << 30, "/root")),
        ("debian", 'work = { size = "1GiB", mount = "/srv" }', Work(1 << 30, "/srv")),
        ("seeded", "", Work(None, "/root")),
        ("seeded", "work = {}", Work(None, "/root")),
        ("seeded", 'work.mount = "~/work"', Work(None, "/root/work")),
        ("seeded", 'work.size = "256MiB"', Work(256 << 20, "/root")),
        ("seeded", 'work.size = "16G"', Work(16 << 30, "/root")),
        ("seeded", "work = false", None),
    ],
)
def test_a_work_disk_is_there_if_there_is_a_seed_or_a_size(image: str, keys: str, work: Work | None) -> None:
    assert vm(f'{SEED}[vm.web]\nimage = "{image}"\n{keys}').work == work


def test_the_seed_may_be_that_of_an_included_file() -> None:
    write("images.toml", SEED)
    assert loaded('include = ["images.toml"]\n[vm.web]\nimage = "seeded"').vms["web"].work == Work()


def test_a_mount_point_in_the_defaults_makes_no_work_disk() -> None:
    vms = loaded(
        SEED
        + """\
[image.debian]
rootfs.tar = "root.tar"
[defaults]
work.mount = "/srv"
[vm.without]
image = "debian"
[vm.with]
image = "seeded"
"""
    ).vms
    assert (vms["without"].work, vms["with"].work) == (None, Work(None, "/srv"))


def test_a_vm_may_leave_out_or_take_up_the_work_disk_of_the_defaults() -> None:
    without = '[defaults]\nwork.size = "1GiB"\n[vm.web]\nimage = "debian"\nwork = false'
    taken = '[defaults]\nwork = false\n[vm.web]\nimage = "debian"\nwork.size = "1GiB"'
    assert (vm(without).work, vm(taken).work) == (None, Work(1 << 30))


def test_nothing_is_said_of_a_vms_disks_where_its_image_is_not_known() -> None:
    found = problems_of("""\
[image.refused]
rootfs.tar = "root.tar"
work_seed = 5
[image.later]
rootfs.tar = "root.tar"
work_seed.oci = "oci:a:b"
[vm.a]
image = "refused"
work.mount = "/a"
[vm.b]
image = "later"
work.mount = "/b"
[vm.c]
image = "gone"
work.mount = "/c"
""")
    assert [problem.key for problem in found] == [
        "image.refused.work_seed",
        "image.later.work_seed.oci",
        "vm.c.image",
    ]
