"""Labels of paths, beside what libselinux says of the same files."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bangerbuild.guest.file_contexts import NO_LABEL, FileContexts
from bangerbuild.tree import EntryType
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "file": EntryType.FILE,
    "dir": EntryType.DIRECTORY,
    "lnk_file": EntryType.SYMLINK,
    "sock_file": EntryType.SOCKET,
    "pipe": EntryType.FIFO,
    "chr_file": EntryType.CHARACTER_DEVICE,
    "blk_file": EntryType.BLOCK_DEVICE,
}
FILES = {
    "": r"""
# a comment
/.*                       system_u:object_r:default_t:s0
/                  -d     system_u:object_r:root_t:s0
/usr/.*                   system_u:object_r:usr_t:s0
/usr/(s)?bin/.*    --     system_u:object_r:bin_t:s0
/usr/bin/passwd    --     system_u:object_r:passwd_exec_t:s0
/usr/bin/pass.*           system_u:object_r:late_t:s0
/etc(/.*)?                system_u:object_r:etc_t:s0
/etc/ssh/ssh_host.*_key --  system_u:object_r:sshd_key_t:s0
/etc/\.pwd\.lock   --     system_u:object_r:shadow_t:s0
/etc/shadow[-+]?   --     system_u:object_r:shadow_t:s0
/proc(/.*)?               <<none>>
/proc              -d     system_u:object_r:proc_t:s0
/var/lib/a(/.*)?          system_u:object_r:var_lib_t:s0
/dev/[^/]*         -c     system_u:object_r:device_t:s0
/dev/[^/]*         -b     system_u:object_r:disk_t:s0
/run/.*            -s     system_u:object_r:sock_t:s0
/run/.*            -p     system_u:object_r:fifo_t:s0
/lib.*/x|/odd.*    -l     system_u:object_r:odd_t:s0
/lost\+found       -d     system_u:object_r:lost_found_t:s0
""",
    ".homedirs": r"""
/home/[^/]+        -d     unconfined_u:object_r:user_home_dir_t:s0
/home/[^/]+/.+            unconfined_u:object_r:user_home_t:s0
/home/[^/]+/\.ssh(/.*)?   unconfined_u:object_r:ssh_home_t:s0
/root(/.*)?               root:object_r:admin_home_t:s0
/root/\.ssh(/.*)?         root:object_r:ssh_home_t:s0
""",
    ".local": "/etc/app.conf -- system_u:object_r:local_t:s0\n/etc/mine(/.*)? system_u:object_r:mine_t:s0\n",
    ".subs": "# a comment\n/srv/root /root\n/top /\n",
    ".subs_dist": "/lib /usr/lib\n/sbin /usr/sbin\n/srv/root /home\n/lib/deep /etc\n",
}
PATHS = [
    "/",
    "/etc",
    "/etc/",
    "/etc//passwd",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/.pwd.lock",
    "/etc/app.conf",
    "/etc/app-conf",
    "/etc/mine/a",
    "/usr",
    "/usr/bin/passwd",
    "/usr/bin/passwdx",
    "/usr/sbin/x",
    "/usr/lib/a",
    "/lib",
    "/lib/a",
    "/lib/deep/a",
    "/lib64/x",
    "/sbin/init",
    "/root",
    "/root/.ssh",
    "/root/.ssh/authorized_keys",
    "/root/xssh",
    "/rooted",
    "/home/a",
    "/home/a/.ssh/b",
    "/home/a/.bashrc",
    "/srv/root",
    "/srv/root/.ssh/a",
    "/top",
    "/top/etc/a",
    "/proc",
    "/proc/1",
    "/dev/vda",
    "/dev/a/b",
    "/run/a",
    "/lost+found",
    "/var/lib/a",
    "/var/lib/ab",
    "/a/odd",
    "/oddly",
    "/x/lib/x",
]
NAMES = ["etc", "usr", "bin", "sbin", "lib", "root", ".ssh", "home", "a", "x", "odd", "srv", "passwd", "dev"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that libselinux is given; it finds the others beside it."""
    base = tmp_path_factory.mktemp("contexts") / "file_contexts"
    for end, text in FILES.items():
        base.with_name(f"file_contexts{end}").write_text(text)
    return base


def contexts() -> FileContexts:
    specs = (FILES[end] for end in ("", ".homedirs", ".local"))
    return FileContexts(specs, FILES[".subs"], FILES[".subs_dist"])


def libselinux(base: Path, kind: str, paths: list[str]) -> list[str]:
    command = [need("matchpathcon", "selinux-utils"), "-f", str(base), "-n", "-m", kind, *paths]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_libselinux_gives_each_path_the_same_label(base: Path, kind: str) -> None:
    found = contexts()
    mine = [found.label(path, KINDS[kind]) or NO_LABEL for path in PATHS]
    assert dict(zip(PATHS, mine, strict=True)) == dict(zip(PATHS, libselinux(base, kind, PATHS), strict=True))


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.sampled_from(NAMES), max_size=4).map(lambda names: "/" + "/".join(names)), min_size=50
    )
)
def test_so_it_does_for_any_path(base: Path, paths: list[str]) -> None:
    found = contexts()
    assert [found.label(path, EntryType.FILE) or NO_LABEL for path in paths] == libselinux(
        base, "file", paths
    )


def test_an_expression_that_is_not_understood_leaves_paths_that_it_may_be_for_without_a_label() -> None:
    found = FileContexts(["/.* u:r:a:s0\n/etc/(?=x).* u:r:b:s0\nshort\n/x -q u:r:c:s0\n"])
    assert found.label("/etc/x", EntryType.FILE) is None
    assert found.label("/usr/x", EntryType.FILE) == "u:r:a:s0"
    assert found.label("/x", EntryType.FILE) == "u:r:a:s0"


def test_a_name_that_is_no_text_has_a_label_too() -> None:
    assert FileContexts(["/a/.* u:r:a:s0\n"]).label("/a/\udcff\n", EntryType.FILE) == "u:r:a:s0"
