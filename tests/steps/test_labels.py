"""The SELinux labels of what is written into images and VMs, read by debugfs."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.disk.ext4_tools import debugfs
from tests.manifests import KEY
from tests.projects import DEBIAN, Disk, Project
from tests.steps.guest_disks import IMAGE, as_guest, vm_disk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE = "/etc/selinux/targeted/contexts/files/file_contexts"
CONTEXTS = r"""
/.*                        system_u:object_r:default_t:s0
/etc(/.*)?                 system_u:object_r:etc_t:s0
/etc/fstab        --       system_u:object_r:fstab_t:s0
/etc/hosts                 <<none>>
/etc/systemd/system/.+     system_u:object_r:unit_t:s0
/usr/.*                    system_u:object_r:usr_t:s0
/usr/local/sbin/.* --      system_u:object_r:bin_t:s0
/usr/lib/link     -l       system_u:object_r:link_t:s0
/none(/.*)?                <<none>>
"""
HOMES = """
/root(/.*)?                system_u:object_r:admin_home_t:s0
/root/\\.ssh(/.*)?         system_u:object_r:ssh_home_t:s0
"""
SELINUX: Mapping[str, str] = {
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    BASE[1:]: CONTEXTS,
    f"{BASE[1:]}.homedirs": HOMES,
    f"{BASE[1:]}.subs_dist": "/lib /usr/lib\n",
}
LABELLED = ("etc", "etc/hosts", "etc/hostname", "none", "usr")
"""What has a label in the tarball: its own path."""
VM = f"""{IMAGE}
[[image.debian.file]]
guest = "/etc/app/image.conf"
content = "a"
[vm.web]
image = "debian"
work.size = "64MiB"
ssh_authorized_keys = ["{KEY}"]
[vm.web.network]
address = "172.16.0.10/24"
[[vm.web.file_sync]]
host = "lib"
guest = "/lib/app"
[[vm.web.file]]
guest = "/none/inside"
content = "x"
[[vm.web.file]]
guest = "/root/deep/down"
content = "x"
"""


def write_image(target: Path, extra: Mapping[str, str], labelled: tuple[str, ...] = LABELLED) -> None:
    """A tarball of a Debian with these files, some of which have a label."""
    files = {**DEBIAN, "etc/hosts": "127.0.0.1 localhost\n", **extra}
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("etc", "none", "usr", "usr/lib"):
            add(archive, name, tarfile.DIRTYPE, labelled)
        link = tarfile.TarInfo("lib")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/lib"
        archive.addfile(link)
        for name, content in files.items():
            add(
                archive,
                name,
                tarfile.REGTYPE,
                labelled,
                content.encode() if isinstance(content, str) else content,
            )


def add(
    archive: tarfile.TarFile, name: str, kind: bytes, labelled: tuple[str, ...], data: bytes = b""
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.mode = kind, len(data), 0o755
    if name in labelled:
        label = f"u:r:{name.replace('/', '-')}:s0\0"
        entry.pax_headers = {"SCHILY.xattr.security.selinux": label}
    archive.addfile(entry, io.BytesIO(data))


def labels(disk: Disk, *paths: str) -> list[str]:
    """The type in each path's label; empty where there is none."""
    return [_type(debugfs(disk.path, f'ea_get -V "{path}" security.selinux').decode()) for path in paths]


def _type(shown: str) -> str:
    return shown.strip("\0\n").split(":")[2] if ":" in shown else ""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.so").write_text("so")
    (tmp_path / "lib/link").symlink_to("a.so")
    write_image(tmp_path / "root.tar", SELINUX)
    found = Project(tmp_path)
    found.write(VM)
    return found


def test_what_is_written_has_the_label_that_the_policy_gives_its_path(project: Project) -> None:
    project.build()
    assert [line for line in project.warnings if "SELinux" in line] == []
    assert labels(Disk(project.image()), "/etc/app", "/etc/app/image.conf") == ["etc_t"] * 2
    root = project.guest()
    root.assert_clean()
    paths = {
        "/etc/fstab": "fstab_t",
        "/etc/hostname": "etc_t",
        "/etc/machine-id": "etc_t",
        "/etc/ssh/sshd_config.d/00-bangerbuild.conf": "etc_t",
        "/etc/ssh/sshd_config.d": "etc_t",
        "/etc/systemd/system/multi-user.target.wants/bangerbuild-network.service": "unit_t",
        "/usr/local/sbin/bangerbuild-network": "bin_t",
        "/usr/lib/app": "usr_t",
        "/usr/lib/app/a.so": "usr_t",
        "/usr/lib/app/link": "usr_t",
        "/run": "default_t",
    }
    assert dict(zip(paths, labels(root, *paths), strict=True)) == paths


def test_where_the_policy_has_none_what_was_there_or_the_directory_gives_it(project: Project) -> None:
    project.build()
    root = project.guest().path
    shown = [debugfs(root, f"ea_get -V {path} security.selinux") for path in ("/etc/hosts", "/none/inside")]
    assert [label.strip(b"\0\n") for label in shown] == [b"u:r:etc-hosts:s0", b"u:r:none:s0"]


def test_a_work_disk_has_the_labels_of_where_it_is_mounted(project: Project) -> None:
    project.build()
    disk = vm_disk(project, "work")
    disk.assert_clean()
    assert labels(disk, "/", "/lost+found", "/.ssh", "/.ssh/authorized_keys", "/deep", "/deep/down") == [
        "admin_home_t",
        "admin_home_t",
        "ssh_home_t",
        "ssh_home_t",
        "admin_home_t",
        "admin_home_t",
    ]


def test_a_patch_of_a_guests_disk_labels_too(project: Project) -> None:
    project.build()
    with as_guest(project.store / "vms/web/work.ext4") as disk:
        disk.write_file("/theirs", b"x")
    with project.as_guest() as disk:
        disk.write_file("/theirs", b"x")
    project.write(
        VM + '[[vm.web.file]]\nguest = "/etc/new"\ncontent = "x"\n'
        '[[vm.web.file]]\nguest = "~/.ssh/config"\ncontent = "x"\n'
    )
    project.build()
    assert labels(project.guest(), "/etc/new", "/theirs") == ["etc_t", ""]
    assert labels(vm_disk(project, "work"), "/.ssh/config", "/theirs") == ["ssh_home_t", ""]


def test_no_root_is_told_to_label_itself_anew(project: Project) -> None:
    project.build()
    assert not project.guest().exists("/.autorelabel")


def test_a_root_without_labels_is_told_with_the_way_out(project: Project) -> None:
    write_image(project.directory / "root.tar", SELINUX, labelled=())
    project.build()
    (warning,) = [line for line in project.warnings if "SELinux" in line and "root.tar" in line]
    assert "no labels on its files" in warning
    assert "--xattrs" in warning
    assert "'/none/inside' has no SELinux label" in "\n".join(project.warnings)
    assert labels(project.guest(), "/etc/fstab", "/etc/passwd") == ["fstab_t", ""]


@pytest.mark.parametrize("config", ["SELINUX=disabled\nSELINUXTYPE=targeted\n", "SELINUXTYPE=other\n"])
def test_a_guest_without_selinux_gets_no_labels(project: Project, config: str) -> None:
    write_image(project.directory / "root.tar", {**SELINUX, "etc/selinux/config": config}, labelled=())
    project.build()
    assert not any("SELinux" in warning or "label" in warning for warning in project.warnings)
    assert labels(project.guest(), "/etc/fstab", "/etc/hosts", "/usr/lib/app/a.so") == [""] * 3
    assert labels(vm_disk(project, "work"), "/", "/.ssh/authorized_keys") == [""] * 2


def test_a_policy_that_is_too_large_to_read_is_told_and_stops_nothing(project: Project) -> None:
    write_image(project.directory / "root.tar", {**SELINUX, BASE[1:]: "#" * (2 << 20)})
    project.build()
    assert any("gets no SELinux label" in line for line in project.warnings)
