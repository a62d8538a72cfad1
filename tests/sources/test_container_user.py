"""Who a container's program runs as, beside what a container runtime makes of the same image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.sources.container_user import ExecUser, exec_user
from tests.formats.oci.making import LayoutMaker, tarball
from tests.formats.tarmaking import member
from tests.need import need
from tests.sources.roots import MadeUpRoot

PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000::/home/app:/bin/sh
app:x:1001:1001::/home/other:/bin/sh
"""
GROUP = b"""\
root:x:0:
wheel:x:10:root,app
staff:x:50:app
app:x:1000:app
"""
KNOWING = MadeUpRoot(files={"/etc/passwd": PASSWD, "/etc/group": GROUP})
USERS = [
    "",
    "root",
    "0",
    "app",
    "1000",
    "app:staff",
    "1000:1000",
    "1000:staff",
    "app:4",
    "4242",
    "4242:staff",
]
USERS += ["4242:4343", ":staff"]


def ids(user: str, root: MadeUpRoot = KNOWING) -> ExecUser:
    return exec_user(user, root, "docker://x")


@pytest.mark.root
def test_a_container_runtime_says_the_same_of_each_form(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run a container here")
    maker = LayoutMaker(tmp_path / "layout")
    busybox = Path(need("busybox", "busybox-static")).read_bytes()
    tables = (member(b"etc/passwd", PASSWD), member(b"etc/group", GROUP))
    members = (member(b"bin/busybox", busybox, mode=0o755), *tables)
    maker.add(maker.image(tarball(*members)), "v1")
    storage = ["--root", str(tmp_path / "r"), "--runroot", str(tmp_path / "rr"), "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        command = [need("buildah"), *storage, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"buildah does not work here: {done.stderr.strip()}")
        return done.stdout.strip()

    container = buildah("from", f"oci:{tmp_path / 'layout'}:v1")
    said = {}
    for user in USERS:
        buildah("config", "--user", user, container)
        script = "for x in -u -g -G; do /bin/busybox id $x; done; echo $HOME"
        said[user] = buildah("run", "--isolation", "chroot", container, "/bin/busybox", "sh", "-c", script)
    buildah("rm", container)
    assert {user: _words(ids(user)) for user in USERS} == {user: said[user].split() for user in USERS}


def _words(user: ExecUser) -> list[str]:
    return [str(user.uid), str(user.gid), *map(str, user.groups), user.home]


def test_lines_that_are_comments_or_say_no_number_name_nobody() -> None:
    passwd = b"#app:x:7:7:::\n\n+::::::\n  app:x:8:8\napp:x:9:9::/nine:\n"
    group = b"#none:x:11:app\nodd:x:x:app\nshort:x:12\nright:x:13:,app\n"
    root = MadeUpRoot(files={"/etc/passwd": passwd, "/etc/group": group})
    assert ids("app", root) == ExecUser(8, 8, (8, 13), "/", "app")
    assert ids("7", root) == ExecUser(7, 0, (0,), "/", "")
    assert ids("", root) == ExecUser(0, 0, (0,), "/", "")


def test_without_a_passwd_file_a_number_is_a_user_of_group_0_whose_home_is_the_top() -> None:
    assert ids("1000", MadeUpRoot()) == ExecUser(1000, 0, (0,), "/", "")
    assert ids("", MadeUpRoot()) == ExecUser(0, 0, (0,), "/", "")
    assert ids("1000:1000", MadeUpRoot()) == ExecUser(1000, 1000, (1000,), "/", "")


@pytest.mark.parametrize(
    ("user", "named"),
    [
        ("nobody", "user 'nobody', which is not in its /etc/passwd"),
        ("app:nobody", "group 'nobody', which is not in its /etc/group"),
        ("2147483648", "'2147483648', which is no id"),
        ("-1", "'-1', which is no id"),
        ("9" * 5000, "which is no id"),
        ("+-5", "user '+-5', which is not in its /etc/passwd"),
    ],
)
def test_who_is_not_there_is_told_by_name(user: str, named: str) -> None:
    with pytest.raises(SourceError, match="'docker://x' runs its program as") as caught:
        ids(user)
    assert named in caught.value.brief


def test_only_who_has_a_name_and_no_group_of_the_images_can_log_in_for_the_same_groups() -> None:
    assert [ids(user).login for user in ("app", "1000", "app:staff", "4242")] == ["app", "app", "", ""]
