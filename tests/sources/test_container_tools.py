"""How a container image's script becomes another user, and which programs it finds."""

from __future__ import annotations

from bangerbuild.sources.container_tools import Tools
from bangerbuild.sources.container_user import ExecUser
from tests.sources.roots import MadeUpRoot

CHROOT, SETPRIV, SU, NSENTER, BUSYBOX = (
    "/usr/sbin/chroot",
    "/usr/bin/setpriv",
    "/bin/su",
    "/usr/bin/nsenter",
    "/bin/busybox",
)
APP = ExecUser(1000, 50, (50, 10), "/", "app")
ALONE = ExecUser(1000, 50, (50,), "/", "app")


def switch(user: ExecUser, *programs: str) -> str | None:
    return Tools(MadeUpRoot("/bin/sh", *programs)).switch(user)


def test_the_user_is_changed_with_what_the_image_has() -> None:
    full = f"{CHROOT} --userspec=1000:50 --groups=50,10 --skip-chdir / "
    assert switch(APP, CHROOT, SETPRIV, SU) == full
    assert switch(APP, SETPRIV, SU) == f"{SETPRIV} --reuid=1000 --regid=50 --groups=50,10 "
    assert switch(APP, SU, NSENTER) == f"{SU} -s /bin/sh -c 'exec \"$@\"' -- app sh "
    assert switch(ALONE, SU, NSENTER) == f"{NSENTER} -S 1000 -G 50 "
    assert switch(ALONE, BUSYBOX) == f"{BUSYBOX} nsenter -S 1000 -G 50 "
    assert switch(APP, BUSYBOX) == f"{BUSYBOX} su -s /bin/sh -c 'exec \"$@\"' -- app sh "


def test_nothing_that_gives_other_groups_is_taken() -> None:
    assert switch(ExecUser(1000, 50, (50, 10), "/", ""), SU, NSENTER) is None
    assert switch(APP, NSENTER) is None


def test_root_is_who_the_kernel_starts_it_as() -> None:
    assert switch(ExecUser()) == ""


def test_the_programs_of_a_busybox_are_known_for_what_they_are() -> None:
    root = MadeUpRoot("/bin/sh", BUSYBOX, SU).linked(CHROOT, BUSYBOX).linked(SETPRIV, BUSYBOX)
    assert (Tools(root).switch(APP) or "").startswith(SU)


def test_what_is_missing_is_missing_unless_there_is_a_busybox() -> None:
    tools = Tools(MadeUpRoot("/usr/bin/env", "/bin/mount", directories=("/bin/sh",)))
    assert tools.missing() == ("/bin/sh", "mkdir", "ln", "chown", "sleep", "sync")
    assert Tools(MadeUpRoot(BUSYBOX)).missing() == ()
    assert Tools(MadeUpRoot(BUSYBOX)).shell == "/bin/busybox sh"
