"""`[[file]]`, `[[file_sync]]`, `[[mount]]` and `[[disk]]` of a file and of a VM, and which of them wins."""

from __future__ import annotations

from bangerbuild.declared import Disk
from tests.manifest.loading import WEB, problems_of, vm


def test_arrays_of_tables_are_appended_after_those_of_the_file() -> None:
    found = vm("""
[[file]]
guest = "/top"
content = ""
[[defaults.file]]
guest = "/default"
content = ""
[[vm.web.file]]
guest = "/own"
content = ""
[vm.web]
image = "debian"
""")
    assert [file.guest for file in found.files] == ["/top", "/default", "/own"]


def test_a_vms_own_entry_for_the_same_path_or_target_wins() -> None:
    found = vm("""
[[file]]
guest = "/root/a"
content = "of the file"
[[defaults.file_sync]]
host = "tree"
guest = "/b"
[[mount]]
source = "one"
target = "/m"
fstype = "ext4"
[vm.web]
image = "debian"
[[vm.web.file]]
guest = "~/a"
content = "own"
[[vm.web.file]]
guest = "/b"
content = "own, where the file has a tree"
[[vm.web.mount]]
source = "two"
target = "/m"
fstype = "ext4"
""")
    assert [(file.guest, file.content[:3]) for file in found.files] == [("/root/a", "own"), ("/b", "own")]
    assert found.file_syncs == ()
    assert [mount.source for mount in found.mounts] == ["two"]


def test_a_mount_with_no_options_has_the_option_defaults() -> None:
    text = '[[mount]]\nsource = "x"\ntarget = "/m"\nfstype = "ext4"\noptions = []\n[vm.web]\nimage = "debian"'
    assert vm(text).mounts[0].options == ("defaults",)


def test_data_disks_come_in_the_order_given_after_those_of_the_defaults() -> None:
    found = vm("""
[[defaults.disk]]
name = "log"
size = "16MiB"
mount = "/var/log"
[[defaults.disk]]
name = "data"
size = "1GiB"
mount = "/data"
[vm.web]
image = "debian"
[[vm.web.disk]]
name = "sixteen-letters-"
size = 1073741824
mount = "~/x"
[[vm.web.disk]]
name = "data"
size = "2GiB"
mount = "/data/own"
""")
    assert found.disks == (
        Disk("log", 16 << 20, "/var/log"),
        Disk("sixteen-letters-", 1 << 30, "/root/x"),
        Disk("data", 2 << 30, "/data/own"),
    )


def test_what_the_schema_refuses_of_a_disk_hides_no_other_mistake() -> None:
    found = problems_of(
        WEB
        + """\
[[vm.web.disk]]
name = "Data"
size = "1GiB"
mount = "/a"
[[vm.web.disk]]
name = "root"
size = "1MiB"
mount = "/"
"""
    )
    assert [problem.key for problem in found] == [
        "vm.web.disk[0].name",
        "vm.web.disk[1].name",
        "vm.web.disk[1].size",
        "vm.web.disk[1].mount",
    ]
