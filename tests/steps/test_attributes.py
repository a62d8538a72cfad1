"""What comes along with the files of a file_sync: modes, extended attributes and holes."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import BangerError
from bangerbuild.execute.workspace import JobWorkspace
from bangerbuild.formats.acl import default_acl
from bangerbuild.model import Verb
from bangerbuild.steps import ledger
from tests.content.mounting import mounted
from tests.disk.ext4_tools import debugfs, make_ext4
from tests.formats.tarmaking import set_xattr
from tests.need import need
from tests.projects import codes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Disk, Project

ID = "vm.web.root.patch"
WEB = '[image.debian]\nrootfs.tar = "root.tar"\n[vm.web]\nimage = "debian"\nwork = false\n'
SYNC = f'{WEB}[[vm.web.file_sync]]\nhost = "site"\nguest = "/srv/site"\n'
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
"""cap_net_raw+ep, as setcap writes it."""
ACL = default_acl("user::rw-,user:7:rw-,group::r--,mask::rw-,other::r--")
SPARSE_BYTES = 20 << 20


@pytest.fixture
def site(debian: Project) -> Path:
    """As a umask of 077 leaves it."""
    top = debian.directory / "site"
    (top / "sub").mkdir(parents=True)
    for name, mode in {"ping": 0o700, "page": 0o600, "sub/page": 0o600}.items():
        (top / name).write_text(f"{name}\n")
        (top / name).chmod(mode)
    for directory in (top, top / "sub"):
        directory.chmod(0o700)
    return top


def built(debian: Project, text: str = SYNC) -> Disk:
    debian.write(text)
    debian.build()
    disk = debian.guest()
    disk.assert_clean()
    return disk


def xattrs(disk: Disk, path: str) -> dict[str, str]:
    """As debugfs lists them: names, and values in its words."""
    said = debugfs(disk.path, f"ea_list {path}").decode(errors="replace")
    return dict(re.findall(r"^  ([\w.]+) \(\d+\)(?: = (.*))?$", said, re.MULTILINE))


def live(debian: Project) -> None:
    """The root is a guest's from now on."""
    with debian.as_guest() as disk:
        disk.write_file("/var/data", b"a guest's")


def kill(*_arguments: object) -> None:
    raise BangerError("killed")


def with_attributes(site: Path) -> None:
    set_xattr(site / "ping", "user.origin", b"here")
    if os.geteuid() == 0:
        set_xattr(site / "ping", "security.capability", NET_RAW)


# modes


def test_modes_are_the_hosts_or_changed_as_chmod_does_for_files_and_directories(
    debian: Project, site: Path
) -> None:
    def modes(keys: str = "") -> list[str]:
        disk = built(debian, SYNC + keys)
        return [disk.stat(f"/srv/site{name}").mode for name in ("", "/sub", "/ping", "/page")]

    assert modes() == ["0700", "0700", "0700", "0600"]
    assert modes('mode = "u=rwX,go=rX"\ndirectory_mode = "u=rwx,go=rx"\n') == ["0755", "0755", "0755", "0644"]
    assert modes('mode = "0644"\ndirectory_mode = "2750"\n') == ["02750", "02750", "0644", "0644"]


def test_parents_that_are_missing_are_roots_and_0755_whatever_the_modes(debian: Project, site: Path) -> None:
    text = SYNC.replace("/srv/site", "/srv/a/b") + 'directory_mode = "0700"\nowner = "5:6"\n'
    disk = built(debian, text)
    assert [(disk.stat(path).mode, disk.stat(path).owner) for path in ("/srv/a", "/srv/a/b")] == [
        ("0755", "0:0"),
        ("0700", "5:6"),
    ]


MODES = 'directory_mode = "0750"\n'


def directories(disk: Disk) -> list[tuple[str, str]]:
    paths = ("/srv", "/srv/site", "/srv/site/sub")
    return [(disk.stat(path).mode, disk.stat(path).owner) for path in paths]


def test_a_changed_directory_mode_or_owner_holds_for_directories_that_were_made_before(
    debian: Project, site: Path
) -> None:
    built(debian)
    live(debian)
    ours = ("/srv/site", "/srv/site/sub")
    debian.write(SYNC + MODES)
    noted = {diff.guest: diff.note for diff in debian.plan()[ID].diffs}
    assert [noted[path] for path in ours] == ["mode 0700 -> 0750"] * 2
    assert directories(built(debian, SYNC + MODES)) == [("0755", "0:0"), ("0750", "0:0"), ("0750", "0:0")]
    again = SYNC + MODES + 'owner = "33:33"\n'
    assert directories(built(debian, again)) == [("0755", "0:0"), ("0750", "33:33"), ("0750", "33:33")]
    site.chmod(0o711)
    found = built(debian)  # the host's again
    assert directories(found) == [("0755", "0:0"), ("0711", "0:0"), ("0700", "0:0")]
    assert debian.plan()[ID].verb is Verb.KEEP


def test_a_directory_whose_mode_the_guest_changed_or_that_it_made_keeps_it(
    debian: Project, site: Path
) -> None:
    with_image_directory = SYNC.replace("/srv/site", "/etc")
    for text, path in ((SYNC, "/srv/site/sub"), (with_image_directory, "/etc")):
        built(debian, text)
        with debian.as_guest() as disk:
            disk.set_attributes(path, mode=0o1711, uid=9, gid=9)
        debian.write(text + MODES)
        assert path not in {diff.guest for diff in debian.plan()[ID].diffs}
        assert (built(debian, text + MODES).stat(path).mode) == "01711"
        with debian.as_guest() as disk:
            disk.set_attributes(path, mode=0o755, uid=0, gid=0)


@pytest.mark.parametrize("is_written", [False, True])
def test_a_run_that_was_interrupted_in_between_changes_no_directory_of_the_guests(
    debian: Project, site: Path, *, is_written: bool
) -> None:
    """The mode that was to be given counts as given only if the disk has it."""
    built(debian)
    live(debian)
    with pytest.MonkeyPatch.context() as patch:
        if is_written:
            patch.setattr(ledger, "check", kill)
        else:
            intend = JobWorkspace.intend
            patch.setattr(JobWorkspace, "intend", lambda *given: kill(intend(*given)))
        debian.write(SYNC + MODES)
        debian.apply()
    assert directories(built(debian, SYNC + MODES))[1:] == [("0750", "0:0")] * 2
    assert directories(built(debian, SYNC))[1:] == [("0700", "0:0")] * 2


# extended attributes


def test_capabilities_and_attributes_come_along_with_another_owner_too(debian: Project, site: Path) -> None:
    with_attributes(site)
    disk = built(debian, SYNC + 'owner = "33:33"\n')
    found = xattrs(disk, "/srv/site/ping")
    assert found.pop("user.origin") == '"here"'
    if os.geteuid() == 0:
        assert bytes.fromhex(found.pop("security.capability")) == NET_RAW
    assert found == {}
    assert (disk.stat("/srv/site/ping").owner, disk.stat("/srv/site/ping").mode) == ("33:33", "0700")


@pytest.mark.root
def test_the_kernel_finds_capabilities_acls_attributes_and_holes(
    debian: Project, site: Path, tmp_path: Path
) -> None:
    with_attributes(site)
    set_xattr(site / "page", "system.posix_acl_access", ACL)
    set_xattr(site / "sub", "system.posix_acl_default", ACL)
    (site / "page").chmod(0o664)
    with (site / "sparse").open("wb") as file:
        file.truncate(SPARSE_BYTES)
        os.pwrite(file.fileno(), b"x", 10 << 20)
    disk = built(debian, SYNC + 'mode = "g-w"\n')
    with mounted(disk.path, tmp_path / "point", "ro") as point:
        there = point / "srv/site"
        command = [need("getcap", "libcap2-bin"), str(there / "ping")]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        assert said.stdout.strip() == f"{there}/ping cap_net_raw=ep"
        assert os.getxattr(there / "ping", "user.origin") == b"here"
        reduced = default_acl("user::rw-,user:7:rw-,group::r--,mask::r--,other::r--")
        assert os.getxattr(there / "page", "system.posix_acl_access") == reduced
        assert os.getxattr(there / "sub", "system.posix_acl_default") == ACL
        with (there / "sparse").open("rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 10 << 20
            assert os.lseek(file.fileno(), 10 << 20, os.SEEK_HOLE) == (10 << 20) + 4096
        assert (there / "sparse").read_bytes() == (site / "sparse").read_bytes()


@pytest.mark.parametrize("is_lived", [False, True])
def test_a_changed_attribute_is_a_change_and_one_taken_away_is_gone(
    debian: Project, site: Path, *, is_lived: bool
) -> None:
    set_xattr(site / "ping", "user.a", b"1")
    inode = built(debian).inode("/srv/site/page")
    if is_lived:
        live(debian)
    set_xattr(site / "ping", "user.b", b"2")
    action = debian.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.UPDATE, ["source-changed"])
    assert [(diff.guest, diff.note) for diff in action.diffs] == [
        ("/srv/site/ping", "extended attributes change: user.b")
    ]
    disk = built(debian)
    assert xattrs(disk, "/srv/site/ping") == {"user.a": '"1"', "user.b": '"2"'}
    for name in ("user.a", "user.b"):
        os.removexattr(site / "ping", name)
    disk = built(debian)
    assert (xattrs(disk, "/srv/site/ping"), disk.text("/srv/site/ping")) == ({}, "ping\n")
    assert disk.inode("/srv/site/page") == inode
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}


def test_an_attribute_that_the_guest_took_away_is_a_difference_and_comes_back(
    debian: Project, site: Path
) -> None:
    set_xattr(site / "ping", "user.a", b"1")
    built(debian)
    with debian.as_guest() as disk:
        disk.remove_xattr("/srv/site/ping", "user.a")
        disk.set_xattr("/srv/site/page", "security.selinux", b"the guest's own label")
    action = debian.plan()[ID]
    assert [reason.to_json() for reason in action.reasons] == [
        {"code": "file-differs", "guest": "/srv/site/ping"}
    ]
    disk_now = built(debian)
    assert xattrs(disk_now, "/srv/site/ping") == {"user.a": '"1"'}
    assert "security.selinux" in xattrs(disk_now, "/srv/site/page")


def test_an_attribute_too_large_for_the_guest_names_the_file_and_the_way_out(
    debian: Project, site: Path
) -> None:
    set_xattr(site / "ping", "user.big", b"x" * 2000)
    make_ext4(debian.directory / "small.ext4", "-b", "1024", size="16M")
    debian.write(SYNC.replace('tar = "root.tar"', 'ext4 = "small.ext4"'))
    error = debian.error(ID)
    assert "'/srv/site/ping'" in error.brief
    assert "'user.big' of 2000 bytes" in error.brief
    assert "setfattr" in (error.hint or "")


# holes


@pytest.mark.parametrize("is_lived", [False, True])
def test_holes_come_along_and_changed_data_is_noticed(debian: Project, site: Path, *, is_lived: bool) -> None:
    with (site / "sparse").open("wb") as file:
        file.truncate(SPARSE_BYTES)
        os.pwrite(file.fileno(), b"begin", 0)
        os.pwrite(file.fileno(), b"end", SPARSE_BYTES - 3)
    if is_lived:
        built(debian, WEB)
        live(debian)
    disk = built(debian)
    assert disk.read("/srv/site/sparse") == (site / "sparse").read_bytes()
    count = re.search(r"Blockcount: (\d+)", debugfs(disk.path, "stat /srv/site/sparse").decode())
    assert count is not None
    assert int(count[1]) * 512 == 2 * 4096
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}
    with debian.as_guest() as guest:
        guest.write_file("/srv/site/sparse", b"\0" * SPARSE_BYTES)
    assert codes(debian.plan()[ID].reasons) == ["file-differs"]
