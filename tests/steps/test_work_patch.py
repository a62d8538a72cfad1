from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.model import Outcome, Verb
from bangerbuild.steps.work_patch import WorkPatch
from tests.manifests import KEY
from tests.projects import reasons
from tests.steps.guest_disks import IMAGE, as_guest, precious, vm_disk, write_precious

if TYPE_CHECKING:
    from tests.projects import Disk, Project

DISK, ID = "vm.web.work", "vm.web.work.patch"
OTHER_KEY = KEY.replace("me@host", "you@host")


def web(more: str = "", keys: tuple[str, ...] = ()) -> str:
    given = f"ssh_authorized_keys = {list(keys)}\n" if keys else ""
    return f'{IMAGE}[vm.web]\nimage = "debian"\nwork.size = "64MiB"\n{given}{more}'


def file(guest: str, content: str = "x", more: str = "") -> str:
    return f'[[vm.web.file]]\nguest = "{guest}"\ncontent = "{content}"\n{more}'


def work(project: Project) -> Disk:
    return vm_disk(project, "work")


def assert_strict_modes_are_met(disk: Disk) -> None:
    """What sshd asks of every directory down to the keys: root's, and nobody else may write."""
    for path, mode in (("/", "0700"), ("/.ssh", "0700"), ("/.ssh/authorized_keys", "0600")):
        assert (disk.stat(path).owner, disk.stat(path).mode) == ("0:0", mode), path


# what it holds


def test_each_patch_holds_what_lands_on_its_disk(debian: Project) -> None:
    (debian.directory / "dotfiles").mkdir()
    sync = '[[vm.web.file_sync]]\nhost = "dotfiles"\nguest = "~/.config"\n'
    debian.write(web(file("~/.profile") + file("/etc/motd") + sync, keys=(KEY,)))
    loaded = manifest.load((debian.directory / "vm.toml",))
    (step,) = WorkPatch.declare(loaded)
    assert (step.id, step.inputs) == (ID, (DISK,))
    assert step.authorized_keys == (KEY,)
    assert [one.guest for one in step.files] == ["/root/.profile"]
    assert [one.guest for one in step.file_syncs] == ["/root/.config"]


def test_the_keys_are_on_the_work_disk_byte_for_byte_and_nowhere_else(debian: Project) -> None:
    debian.write(web(keys=(KEY, OTHER_KEY)))
    debian.build()
    work(debian).assert_clean()
    assert work(debian).text("/.ssh/authorized_keys") == f"{KEY}\n{OTHER_KEY}\n"
    assert not debian.guest().exists("/root/.ssh")


def test_sshds_strict_modes_are_met(debian: Project) -> None:
    debian.write(web(keys=(KEY,)))
    debian.build()
    assert_strict_modes_are_met(work(debian))


def test_what_a_guest_made_too_open_for_sshd_is_closed_with_the_next_keys(debian: Project) -> None:
    debian.write(web())
    debian.build()
    with as_guest(work(debian).path) as disk:
        disk.set_attributes("/", mode=0o777, uid=1000)
        disk.make_directory("/.ssh", mode=0o775, uid=1000, gid=1000)
        disk.write_file("/.ssh/authorized_keys", b"old", mode=0o666, uid=1000)
        disk.write_file("/.ssh/config", b"Host *\n", uid=1000)
    debian.write(web(keys=(KEY,)))
    debian.build()
    assert_strict_modes_are_met(work(debian))
    assert work(debian).text("/.ssh/config") == "Host *\n"


def test_keys_are_left_alone_where_none_are_given(debian: Project) -> None:
    debian.write(web())
    debian.build()
    with as_guest(work(debian).path) as disk:
        disk.write_file("/.ssh/authorized_keys", b"the guest's own\n", mode=0o640)
    before = work(debian).stat("/.ssh/authorized_keys")
    debian.write(web(file("~/.profile")))
    debian.build()
    assert work(debian).text("/.ssh/authorized_keys") == "the guest's own\n"
    assert work(debian).stat("/.ssh/authorized_keys") == before


def test_a_host_tree_is_copied_below_home_with_its_owner(debian: Project) -> None:
    tree = debian.directory / "dotfiles"
    (tree / "nvim").mkdir(parents=True)
    (tree / "nvim/init.lua").write_text("-- init\n")
    (tree / "link").symlink_to("nvim/init.lua")
    sync = '[[vm.web.file_sync]]\nhost = "dotfiles"\nguest = "~/.config"\nmode = "0600"\nowner = "5:6"\n'
    debian.write(web(sync))
    debian.build()
    found = work(debian).stat("/.config/nvim/init.lua")
    work(debian).assert_clean()
    assert work(debian).text("/.config/nvim/init.lua") == "-- init\n"
    assert (found.owner, found.mode) == ("5:6", "0600")
    assert work(debian).stat("/.config/link").target == "nvim/init.lua"


def test_a_work_disk_elsewhere_leaves_home_and_its_keys_to_the_root(debian: Project) -> None:
    debian.write(web(f'work.mount = "/srv"\n{file("/srv/a")}{file("~/b")}', keys=(KEY,)))
    debian.build()
    assert work(debian).names("/") == {"a", "lost+found"}
    assert debian.guest().text("/root/.ssh/authorized_keys") == f"{KEY}\n"
    assert debian.guest().exists("/root/b")


# where paths lead


def test_symlinks_within_the_disk_are_followed_as_the_guest_would(debian: Project) -> None:
    debian.write(web())
    debian.build()
    with as_guest(work(debian).path) as disk:
        disk.make_directory("/dotfiles/config")
        disk.make_symlink("/.config", "/root/dotfiles/config")
        disk.make_symlink("/.local", "dotfiles/../dotfiles")
    debian.write(web(file("~/.config/a", "absolute") + file("~/.local/b", "relative")))
    debian.build()
    work(debian).assert_clean()
    assert work(debian).text("/dotfiles/config/a") == "absolute"
    assert work(debian).text("/dotfiles/b") == "relative"
    assert work(debian).stat("/.config").target == "/root/dotfiles/config"


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/srv/config", "/srv/config"),
        ("../etc", "/root/.."),
        ("/rooted", "/rooted"),
        ("/data/config", "/data/config"),
    ],
)
def test_a_symlink_onto_another_disk_fails_by_name_and_nothing_is_written(
    debian: Project, target: str, leads_to: str
) -> None:
    data = '[[vm.web.disk]]\nname = "data"\nsize = "64MiB"\nmount = "/data"\n'
    debian.write(web(data))
    debian.build()
    with as_guest(work(debian).path) as disk:
        disk.make_symlink("/.config", target)
    before = work(debian).path.read_bytes()
    debian.write(web(data + file("~/a") + file("~/.config/app")))
    assert debian.blocked(ID)["message"] == (
        f"'/root/.config/app' leads to '{leads_to}', which lies on another disk, in 'vms/web/work.ext4'"
    )
    assert work(debian).path.read_bytes() == before


def test_a_symlink_on_the_root_that_leads_onto_the_work_disk_fails_by_name(debian: Project) -> None:
    debian.write(web())
    debian.build()
    with debian.as_guest() as disk:
        disk.make_symlink("/srv", "/root/srv")
    debian.write(web(file("/srv/app/conf")))
    assert debian.blocked("vm.web.root.patch")["message"] == (
        "'/srv/app/conf' leads to '/root/srv', which lies on another disk, in 'vms/web/root.cow'"
    )


def test_a_loop_is_an_error_and_the_disk_stays(debian: Project) -> None:
    debian.write(web())
    debian.build()
    with as_guest(work(debian).path) as disk:
        disk.make_symlink("/loop", "loop")
    debian.write(web(file("~/loop/x")))
    assert "more than 40 symlinks" in str(debian.blocked(ID)["message"])


def test_a_file_where_home_itself_is_mounted_is_an_error(debian: Project) -> None:
    debian.write(web(file("/root")))
    assert "is a directory" in debian.error(ID).brief


# what changes


def test_a_changed_file_is_shown_and_updated_in_place(debian: Project) -> None:
    debian.write(web(file("~/.profile", "umask 022\\n")))
    debian.build()
    before = write_precious(work(debian).path)
    debian.write(web(file("~/.profile", "umask 077\\n")))
    planned = debian.plan()
    assert (planned[DISK].verb, planned[ID].verb) == (Verb.KEEP, Verb.UPDATE)
    (diff,) = planned[ID].diffs
    assert diff.guest == "/root/.profile"
    assert diff.text is not None
    assert [line for line in diff.text.splitlines() if line[1:].startswith("umask")] == [
        "-umask 022",
        "+umask 077",
    ]
    debian.build()
    assert work(debian).text("/.profile") == "umask 077\n"
    assert precious(work(debian).path) == before


def test_of_keys_only_that_they_change_is_shown(debian: Project) -> None:
    debian.write(web(keys=(KEY,)))
    debian.build()
    debian.write(web(keys=(OTHER_KEY,)))
    (diff,) = debian.plan()[ID].diffs
    assert (diff.guest, diff.text, diff.note) == (
        "/root/.ssh/authorized_keys",
        None,
        "changes (contents not shown)",
    )


def test_the_patch_of_a_new_disk_is_created_with_it(debian: Project) -> None:
    debian.write(web(keys=(KEY,)))
    planned = debian.plan()
    assert (planned[ID].verb, reasons(planned[ID])) == (Verb.CREATE, [{"code": "missing"}])


def test_a_patch_without_anything_to_write_leaves_the_disk_its_bytes(debian: Project) -> None:
    debian.write(web())
    debian.build()
    before = work(debian).path.stat()
    assert debian.apply()[ID].outcome is Outcome.SKIPPED
    assert work(debian).path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_host_file_that_is_gone_stops_the_plan_and_touches_nothing(debian: Project) -> None:
    (debian.directory / "rc").write_text("x")
    sync = '[[vm.web.file_sync]]\nhost = "rc"\nguest = "~/.rc"\n'
    debian.write(web(sync))
    debian.build()
    before = work(debian).path.read_bytes()
    (debian.directory / "rc").write_text("y")
    assert debian.plan()[ID].verb is Verb.UPDATE
    debian.build()
    assert work(debian).text("/.rc") == "y"
    assert work(debian).path.read_bytes() != before
