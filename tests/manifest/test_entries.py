"""`[[file]]`, `[[file_sync]]`, `[[mount]]` and `[[disk]]` of a file and of a VM, and which of them wins."""

from __future__ import annotations

import os

import pytest

from bangerbuild.declared import Disk, FileSync
from bangerbuild.manifest import load
from tests.manifest.loading import WEB, loaded, problems_of, vm, write


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


FILES = """
[[vm.web.file]]
guest = "/a"
content = ""
times = "host"
[[vm.web.file]]
guest = "/b"
content = ""
"""
SYNC = '[[vm.web.file_sync]]\nhost = "tree"\nguest = "/srv"\n'


def sync(keys: str = "", head: str = "") -> FileSync:
    (found,) = vm(f'{head}[vm.web]\nimage = "debian"\n{SYNC}{keys}').file_syncs
    return found


def test_a_mode_is_octal_or_symbolic_and_a_zero_is_one_too() -> None:
    assert (sync().mode, sync().directory_mode) == (None, None)
    found = sync('mode = "u=rwX,go=rX"\ndirectory_mode = "0755"\n')
    assert (found.mode, found.directory_mode) == ("u=rwX,go=rX", 0o755)
    found = sync('mode = "0000"\ndirectory_mode = "g+s"\n')
    assert (found.mode, found.directory_mode) == (0, "g+s")


@pytest.mark.parametrize("key", ["mode", "directory_mode"])
@pytest.mark.parametrize("value", ['"u=rwq"', "644", '"rwx"', '""'])
def test_what_is_no_mode_is_told_with_its_line_and_examples(key: str, value: str) -> None:
    (problem,) = problems_of(f"{WEB}{SYNC}{key} = {value}\n")
    assert problem.key == f"vm.web.file_sync[0].{key}"
    assert problem.message.endswith(
        'give an octal string such as "0644", or a symbolic mode as of chmod such as "u=rwX,go=rX"'
    )
    assert problem.line == f"{WEB}{SYNC}{key} = {value}\n".count("\n")


def test_a_vms_files_have_the_hosts_times_and_an_images_fixed_ones_unless_said_otherwise() -> None:
    assert (sync().times, sync().unusual_times) == ("host", None)
    assert sync('times = "host"\n') == sync()
    assert (sync('times = "fixed"\n').times, sync('times = "fixed"\n').unusual_times) == ("fixed", "fixed")
    text = 'image.debian.rootfs.tar = "root.tar"\n[[image.debian.file_sync]]\nhost = "tree"\nguest = "/srv"\n'
    (found,) = loaded(text).images["debian"].file_syncs
    assert (found.times, found.unusual_times) == ("fixed", None)
    (found,) = loaded(f'{text}times = "host"\n').images["debian"].file_syncs
    assert (found.times, found.unusual_times) == ("host", "host")
    (shared,) = vm('[[file_sync]]\nhost = "tree"\nguest = "/srv"\n[vm.web]\nimage = "debian"\n').file_syncs
    assert shared.times == "host"


def test_a_file_with_the_hosts_time_has_that_of_the_manifest_in_which_it_stands() -> None:
    path = write("vm.toml", f"{WEB}{FILES}")
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    files = load([path]).vms["web"].files
    assert [(file.times, file.mtime_ns) for file in files] == [
        ("host", 1_234_567_890_123_456_789),
        ("fixed", None),
    ]
