"""Where a VM's disks and tmpfs are mounted, and which files would lie hidden under them."""

from __future__ import annotations

import pytest

from bangerbuild.declared import Work
from tests.manifest.loading import WEB, problems_of, vm


def test_a_disk_may_take_the_place_of_the_default_tmpfs_and_files_lie_on_it() -> None:
    found = vm("""
[vm.web]
image = "debian"
file = [{ guest = "/tmp/a", content = "" }]
disk = [{ name = "tmp", size = "1GiB", mount = "/tmp" }, { name = "b", size = "1GiB", mount = "/tmp/b" }]
""")
    assert [disk.mount for disk in found.disks] == ["/tmp", "/tmp/b"]
    assert found.files[0].guest == "/tmp/a"


def test_a_work_disk_may_lie_below_run_where_our_fstab_mounts_no_tmpfs() -> None:
    text = '[vm.web]\nimage = "debian"\nguest.fstab = false\nwork = { size = "1GiB", mount = "/run/work" }'
    assert vm(text).work == Work(1 << 30, "/run/work")


def test_a_file_may_lie_on_a_disk_below_a_tmpfs() -> None:
    found = vm("""
[[mount]]
source = "LABEL=x"
target = "/tmp/disk"
fstype = "ext4"
[[file]]
guest = "/tmp/disk/a"
content = ""
[vm.web]
image = "debian"
""")
    assert found.files[0].guest == "/tmp/disk/a"


@pytest.mark.parametrize(
    "why",
    [
        "guest.fstab = false",
        'file = [{ guest = "/etc/fstab", content = "" }]',
        'mount = [{ source = "LABEL=x", target = "/tmp", fstype = "ext4" }]',
    ],
)
def test_a_file_may_lie_in_tmp_where_our_fstab_mounts_no_tmpfs(why: str) -> None:
    found = vm(f'[[file]]\nguest = "/tmp/a"\ncontent = ""\n[vm.web]\nimage = "debian"\n{why}')
    assert "/tmp/a" in [file.guest for file in found.files]


def test_disks_without_a_fit_name_or_mount_point_are_not_compared() -> None:
    found = problems_of(
        WEB
        + """\
disk = [
  { name = "root", size = "1G", mount = "/a" }, { name = "work", size = "1G", mount = "/a" },
  { name = "a", size = "1G", mount = "/" }, { name = "b", size = "1G", mount = "/" },
]
"""
    )
    assert [problem.key for problem in found] == [
        "vm.web.disk[0].name",
        "vm.web.disk[1].name",
        "vm.web.disk[2].mount",
        "vm.web.disk[3].mount",
    ]
