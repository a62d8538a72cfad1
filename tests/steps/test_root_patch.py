from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.epoch import NANOSECONDS, Epoch
from bangerbuild.errors import GuestPathError, SourceError
from bangerbuild.model import Outcome, Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.model.fingerprint import step_fields
from bangerbuild.steps.root_patch import RootPatch
from tests import PROJECT
from tests.disk.ext4_tools import make_ext4
from tests.manifests import KEY
from tests.need import need
from tests.projects import DEBIAN, codes, write_tar
from tests.stats import stat_but_atime
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.projects import Disk, Project

MIB = 1 << 20
IMAGE = '[image.debian.rootfs]\ntar = "root.tar"\nsize = "24MiB"\n'
WEB = f'{IMAGE}[vm.web]\nimage = "debian"\n'
NETWORK = (
    '[vm.web.network]\naddress = "172.16.0.10/24"\ngateway = "172.16.0.1"\ndns = ["1.1.1.1", "9.9.9.9"]\n'
)
ID, DISK, BASE = "vm.web.root.patch", "vm.web.root", "image.debian.rootfs"


def built(project: Project, text: str) -> Disk:
    """The VM's root as the manifest makes it; e2fsck must be content with it."""
    project.write(text)
    project.build()
    guest = project.guest()
    guest.assert_clean()
    return guest


def with_files(project: Project, files: dict[str, str | bytes], links: dict[str, str] | None = None) -> None:
    """An image with these in place of its own."""
    write_tar(project.directory / "root.tar", {**DEBIAN, **files}, links)


def without_files(project: Project, *names: str) -> None:
    """An image that lacks these."""
    write_tar(
        project.directory / "root.tar",
        {name: content for name, content in DEBIAN.items() if name not in names},
    )


# as it is declared and judged


def test_each_vm_has_a_patch_that_changes_its_root(debian: Project) -> None:
    debian.write(f'{WEB}[vm.db]\nimage = "debian"\n')
    steps = list(RootPatch.declare(manifest.load((debian.directory / "vm.toml",))))
    assert [(step.id, step.changes, step.outputs) for step in steps] == [
        (ID, DISK, ()),
        ("vm.db.root.patch", "vm.db.root", ()),
    ]
    assert all(step.changes in step.inputs for step in steps)


def test_the_host_files_it_reads_are_its_sources(debian: Project) -> None:
    (debian.directory / "site").mkdir()
    debian.write(f'{WEB}file_sync = [{{ host = "site", guest = "/srv/site" }}]\n')
    (step,) = RootPatch.declare(manifest.load((debian.directory / "vm.toml",)))
    (source,) = step.sources
    assert (source.role, source.path, source.written) == (
        "file_sync[/srv/site]",
        debian.directory / "site",
        "site",
    )


def test_the_content_of_a_file_is_not_kept_in_the_recipe(debian: Project) -> None:
    debian.write(f'{WEB}file = [{{ guest = "/etc/secret", content = "swordfish", mode = "0600" }}]\n')
    debian.build()
    for file in debian.store.glob("state.db*"):
        assert b"swordfish" not in file.read_bytes()


RECORD = Record(ID, Recipe("root-patch", {}, {}, {}, {}), "f", ("vms/web/root.cow",), {})
CHANGED = Reason(ReasonCode.RECIPE_CHANGED, {"key": "hostname", "old": "a", "new": "b"})
DISK_CHANGED = Reason(ReasonCode.INPUT_CHANGED, {"id": DISK})
MISSING = Reason(ReasonCode.MISSING)


@pytest.mark.parametrize(
    ("disk_verb", "record", "changes", "verdict"),
    [
        (Verb.CREATE, None, (), Verdict(Verb.CREATE, (MISSING,))),
        (Verb.CREATE, RECORD, (CHANGED,), Verdict(Verb.CREATE, (MISSING,))),
        (Verb.REPLACE, RECORD, (DISK_CHANGED,), Verdict(Verb.UPDATE, (DISK_CHANGED,))),
        (Verb.REPLACE, RECORD, (CHANGED,), Verdict(Verb.UPDATE, (DISK_CHANGED, CHANGED))),
        (Verb.KEEP, RECORD, (), Verdict(Verb.KEEP)),
        (Verb.KEEP, RECORD, (CHANGED,), Verdict(Verb.UPDATE, (CHANGED,))),
        (Verb.BLOCKED, RECORD, (), Verdict(Verb.KEEP)),
        (Verb.BLOCKED, RECORD, (CHANGED,), Verdict(Verb.UPDATE, (CHANGED,))),
        (Verb.BLOCKED, None, (), Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))),
        (Verb.KEEP, None, (), Verdict(Verb.UPDATE, (MISSING,))),
    ],
)
def test_a_patch_goes_where_its_disk_goes_and_else_follows_its_recipe(
    debian: Project, disk_verb: Verb, record: Record | None, changes: tuple[Reason, ...], verdict: Verdict
) -> None:
    debian.write(WEB)
    (step,) = RootPatch.declare(manifest.load((debian.directory / "vm.toml",)))
    situation = Situation(
        record=record, changes=changes, missing=False, modified=lambda: False, disk_verb=disk_verb
    )
    assert step.judge(situation) == verdict


# the guest's defaults


def test_a_guest_is_told_its_name(debian: Project) -> None:
    guest = built(debian, f'{WEB}hostname = "web.example.org"\n')
    assert guest.text("/etc/hostname") == "web.example.org\n"
    assert guest.text("/etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 web.example.org web\n"
    for name in ("/etc/hostname", "/etc/hosts"):
        found = guest.stat(name)
        assert (found.type, found.mode, found.owner) == ("regular", "0644", "0:0")
        assert found.mtime == Epoch().of_bytes(guest.read(name)) // NANOSECONDS


def test_the_images_own_hosts_stay_in_each_patch(debian: Project) -> None:
    own = "::1 localhost ip6-localhost\n10.0.0.5\tdb\n"
    with_files(debian, {"etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\timage\n{own}"})
    assert built(debian, WEB).text("/etc/hosts") == f"127.0.0.1 localhost\n127.0.1.1 web\n{own}"
    with debian.as_guest() as disk:
        disk.write_file("/root.txt", b"guest")
    renamed = built(debian, f'{WEB}hostname = "renamed"\n').text("/etc/hosts")
    assert renamed == f"127.0.0.1 localhost\n127.0.1.1 renamed\n{own}"


def test_a_guest_is_told_its_name_servers(debian: Project) -> None:
    guest = built(debian, WEB + NETWORK)
    assert guest.text("/etc/resolv.conf") == "nameserver 1.1.1.1\nnameserver 9.9.9.9\n"


def test_without_name_servers_the_images_resolv_conf_stays(debian: Project) -> None:
    with_files(debian, {"etc/resolv.conf": "nameserver 8.8.8.8\n"})
    assert built(debian, WEB).text("/etc/resolv.conf") == "nameserver 8.8.8.8\n"


def test_sshd_lets_root_in_by_a_key_and_nobody_by_a_password(debian: Project) -> None:
    settings = built(debian, WEB).text("/etc/ssh/sshd_config.d/00-bangerbuild.conf").splitlines()
    assert [line for line in settings if line and not line.startswith("#")] == [
        "PermitRootLogin prohibit-password",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "Match User root",
        "    PermitRootLogin prohibit-password",
        "    PubkeyAuthentication yes",
        "    PasswordAuthentication no",
        "    KbdInteractiveAuthentication no",
        "    AuthorizedKeysFile /root/.ssh/authorized_keys",
        "Match all",
    ]


@pytest.mark.parametrize("work", ["", 'work.size = "16MiB"\n'])  # where the keys are on another disk too
def test_a_setting_of_the_image_that_keeps_root_out_is_a_warning(debian: Project, work: str) -> None:
    with_files(
        debian,
        {
            "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
            "etc/ssh/sshd_config.d/50-image.conf": "AllowUsers dev\n",
        },
    )
    built(debian, f'{WEB}{work}ssh_authorized_keys = ["{KEY}"]\n')
    [warning] = [warning for warning in debian.warnings if "AllowUsers dev" in warning]
    assert ID in warning


def test_an_sshd_config_without_the_include_gets_it_first_and_a_warning(debian: Project) -> None:
    config = "Port 22\nPermitRootLogin yes\n"
    with_files(debian, {"etc/ssh/sshd_config": config})
    guest = built(debian, WEB)
    assert guest.text("/etc/ssh/sshd_config") == f"Include /etc/ssh/sshd_config.d/*.conf\n{config}"
    assert any(ID in warning and "sshd_config" in warning for warning in debian.warnings)


def test_a_second_patch_does_not_add_the_include_again(debian: Project) -> None:
    with_files(debian, {"etc/ssh/sshd_config": "Port 22\n"})
    built(debian, WEB)
    with debian.as_guest() as disk:
        disk.write_file("/root.txt", b"guest")
    guest = built(debian, f'{WEB}hostname = "renamed"\n')
    assert guest.text("/etc/ssh/sshd_config") == "Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n"


def test_keys_lie_where_sshd_accepts_them(debian: Project) -> None:
    guest = built(debian, f'{WEB}ssh_authorized_keys = ["{KEY}"]\n')
    assert guest.text("/root/.ssh/authorized_keys") == f"{KEY}\n"
    modes = {name: guest.stat(name).mode for name in ("/root", "/root/.ssh", "/root/.ssh/authorized_keys")}
    assert modes == {"/root": "0700", "/root/.ssh": "0700", "/root/.ssh/authorized_keys": "0600"}
    assert {guest.stat(name).owner for name in modes} == {"0:0"}


def test_an_address_is_set_by_a_script_that_a_unit_starts(debian: Project) -> None:
    guest = built(debian, WEB + NETWORK)
    assert guest.text("/etc/bangerbuild/network.conf").splitlines()[1:] == [
        "MAC='06:00:ac:10:00:0a'",
        "ADDRESS='172.16.0.10/24'",
        "GATEWAY='172.16.0.1'",
    ]
    assert guest.stat("/usr/local/sbin/bangerbuild-network").mode == "0755"
    units = guest.names("/etc/systemd/system/multi-user.target.wants")
    assert "bangerbuild-network.service" in units
    for unit in units:
        target = guest.stat(f"/etc/systemd/system/multi-user.target.wants/{unit}").target
        assert target == f"/etc/systemd/system/{unit}"
        assert guest.exists(target)


def test_an_image_without_an_init_system_gets_a_warning(debian: Project) -> None:
    without_files(debian, "usr/lib/systemd/systemd")
    built(debian, WEB + NETWORK)
    assert any("neither systemd nor OpenRC" in warning for warning in debian.warnings)


def test_fstab_keeps_the_images_lines_but_for_what_is_dropped_or_written_here(debian: Project) -> None:
    mount = 'mount = [{ source = "tmpfs", target = "/scratch", fstype = "tmpfs", options = ["size=1g"] }]\n'
    lines = built(debian, WEB + mount).text("/etc/fstab").splitlines()
    assert lines[0] == "# the image's own"
    assert lines[2] == "# LABEL=old / ext4 defaults 0 1"  # the image has no such label
    assert not any("/home" in line for line in lines)
    assert lines[-3:] == [
        "tmpfs /run tmpfs defaults,nodev,nosuid,mode=0755 0 0",
        "tmpfs /tmp tmpfs defaults,nodev,nosuid,mode=1777 0 0",
        "tmpfs /scratch tmpfs size=1g 0 0",
    ]


def test_a_line_for_a_device_that_the_vm_lacks_is_commented_out_with_a_warning_once(debian: Project) -> None:
    guest = built(debian, WEB)
    [warning] = [warning for warning in debian.warnings if "LABEL=old" in warning]
    assert ID in warning
    with debian.as_guest() as disk:
        disk.write_file("/root.txt", b"guest")
    assert built(debian, f'{WEB}hostname = "renamed"\n').text("/etc/fstab") == guest.text("/etc/fstab")
    kept = built(debian, f'{WEB}keep_mounts = ["/"]\n').text("/etc/fstab").splitlines()
    assert kept[:2] == ["# the image's own", "LABEL=old / ext4 defaults 0 1"]
    assert debian.warnings == []


def test_the_plan_warns_of_what_the_run_will_where_the_image_is_there(debian: Project) -> None:
    debian.write(WEB)
    assert debian.plan()[ID].warnings == ()  # nobody knows the image yet
    debian.build()
    debian.write(f'{WEB}[vm.new]\nimage = "debian"\n')
    planned = debian.plan()
    assert planned[ID].warnings == ()  # nothing is done
    [warning] = planned["vm.new.root.patch"].warnings
    assert "'LABEL=old'" in warning
    debian.build()
    assert debian.warnings == [f"vm.new.root.patch: {warning}"]
    debian.write(f'{WEB}hostname = "renamed"\n')
    assert debian.plan()[ID].warnings == (warning,)
    debian.write(f'{WEB}hostname = "renamed"\nkeep_mounts = ["/"]\n')
    assert debian.plan()[ID].warnings == ()


def test_the_roots_own_label_and_uuid_name_a_device_that_is_there(project: Project) -> None:
    image = make_ext4(project.directory / "root.ext4", "-L", "old", size="24M")
    with RawFile(image) as blocks:
        uuid = read_superblock(blocks, writable=False).uuid
    lines = f"LABEL=old / ext4 defaults 0 1\nUUID={uuid} / ext4 defaults 0 1\n"
    with as_guest(image) as disk:
        disk.make_directory("/etc")
        disk.write_file("/etc/fstab", lines.encode())
    guest = built(project, WEB.replace('tar = "root.tar"\nsize = "24MiB"', 'ext4 = "root.ext4"'))
    assert guest.text("/etc/fstab").startswith(lines)


def test_without_kept_mounts_the_recipe_is_that_of_a_manifest_that_does_not_know_the_key(
    debian: Project,
) -> None:
    debian.write(WEB)
    (plain,) = RootPatch.declare(manifest.load((debian.directory / "vm.toml",)))
    debian.write(f'{WEB}keep_mounts = ["/srv"]\n')
    (keeping,) = RootPatch.declare(manifest.load((debian.directory / "vm.toml",)))
    assert step_fields(keeping) == {**step_fields(plain), "keep_mounts": ["/srv"]}


def test_an_image_without_an_fstab_gets_one(debian: Project) -> None:
    without_files(debian, "etc/fstab")
    assert "tmpfs /run tmpfs" in built(debian, WEB).text("/etc/fstab")


def test_an_fstab_that_cannot_be_read_fails_the_step(debian: Project) -> None:
    without_files(debian, "etc/fstab")
    with_files(debian, {"etc/fstab": ""})
    write_tar(
        debian.directory / "root.tar",
        {**{name: text for name, text in DEBIAN.items() if name != "etc/fstab"}, "etc/fstab/x": ""},
    )
    debian.write(WEB)
    error = debian.error(ID)
    assert isinstance(error, GuestPathError)
    assert "/etc/fstab" in error.brief
    assert not debian.cow().exists()


def test_the_images_identity_is_taken_away(debian: Project) -> None:
    guest = built(debian, WEB)
    assert guest.read("/etc/machine-id") == b""
    assert {name for name in guest.names("/etc/ssh") if name.startswith("ssh_host_")} == set()
    assert guest.exists("/etc/systemd/system/bangerbuild-host-keys.service")


def test_what_else_makes_the_image_one_machine_is_removed_once_and_no_more_than_that(
    debian: Project,
) -> None:
    gone = {
        "etc/ssh/ssh_host_ed25519_key": "",
        "var/lib/cloud/instances/i-1/sem/config_ssh": "",
        "var/lib/cloud/instances/i-1/user-data.txt": "#cloud-config\n",
        "var/lib/cloud/data/instance-id": "i-1\n",
        "var/lib/cloud/sem/config_scripts_per_once.once": "",
        "var/lib/cloud/seed/nocloud/user-data": "#cloud-config\n",
        "var/lib/systemd/random-seed": "secret",
        "var/lib/dhcp/dhclient.eth0.leases": "lease {}\n",
    }
    kept = {"var/lib/cloud/scripts/per-boot/own": "#!/bin/sh\n", "var/lib/dhcp/readme": ""}
    links = {"var/lib/cloud/instance": "instances/i-1", "etc/ssh/ssh_host_rsa_key": "/var/keys/rsa"}
    with_files(debian, {**gone, **kept, "var/keys/rsa": "kept"}, links)
    guest = built(debian, WEB)
    assert [name for name in (*gone, *links) if guest.exists(f"/{name}")] == []
    assert [name for name in (*kept, "var/keys/rsa") if not guest.exists(f"/{name}")] == []
    assert any("/var/lib/cloud/seed/nocloud'" in warning for warning in debian.warnings)
    with debian.as_guest() as disk:
        disk.make_directory("/var/lib/cloud/data")
    assert built(debian, f'{WEB}hostname = "renamed"\n').exists("/var/lib/cloud/data")


SWITCHES: dict[str, tuple[str, str | None]] = {
    "hostname": ("/etc/hostname", "image\n"),
    "hosts": ("/etc/hosts", None),
    "resolv_conf": ("/etc/resolv.conf", None),
    "sshd": ("/etc/ssh/sshd_config.d/00-bangerbuild.conf", None),
    "network": ("/usr/local/sbin/bangerbuild-network", None),
    "fstab": ("/etc/fstab", str(DEBIAN["etc/fstab"])),
    "identity": ("/etc/machine-id", str(DEBIAN["etc/machine-id"])),
}
"""What each switch keeps from being written, and what stands there in the image."""


@pytest.mark.parametrize("switch", SWITCHES)
def test_each_default_can_be_switched_off(debian: Project, switch: str) -> None:
    path, image = SWITCHES[switch]
    guest = built(debian, f"{WEB}guest.{switch} = false\n{NETWORK}")
    assert (guest.text(path) if guest.exists(path) else None) == image


@pytest.mark.parametrize("switch", [name for name in SWITCHES if name != "fstab"])
def test_each_default_gives_way_to_a_declared_file(debian: Project, switch: str) -> None:
    path, _ = SWITCHES[switch]
    text = f'{WEB}file = [{{ guest = "{path}", content = "mine" }}]\n{NETWORK}'
    assert built(debian, text).text(path) == "mine"


# declared files


def test_a_file_has_its_content_its_mode_and_its_owner(debian: Project) -> None:
    guest = built(
        debian,
        f'{WEB}[[vm.web.file]]\nguest = "/srv/a/b/app.conf"\ncontent = "port = 80\\n"\n'
        'mode = "2750"\nowner = "www-data:1234"\n',
    )
    found = guest.stat("/srv/a/b/app.conf")
    assert guest.text("/srv/a/b/app.conf") == "port = 80\n"
    assert (found.type, found.mode, found.owner) == ("regular", "02750", "33:1234")
    for parent in ("/srv", "/srv/a", "/srv/a/b"):
        assert (guest.stat(parent).mode, guest.stat(parent).owner) == ("0755", "0:0")


def test_an_untouched_root_is_previewed_with_the_users_that_the_run_finds(debian: Project) -> None:
    """The users of its image, as it is made anew from that; not those of a passwd that left the manifest."""
    accounts = '[[vm.web.file]]\nguest = "/etc/passwd"\ncontent = "app:x:7:7::/:/bin/sh\\n"\n'
    owned = '[[vm.web.file]]\nguest = "/a"\ncontent = ""\nowner = "app:root"\n'
    unknown = "owner 'app:root': 'app' is not in the guest's /etc/passwd"
    debian.write(WEB + accounts)
    debian.build()
    debian.write(WEB + owned)
    assert debian.blocked("vm.web.root.patch")["message"] == unknown


def test_an_owner_that_the_guest_does_not_know_is_an_error(debian: Project) -> None:
    debian.write(f'{WEB}file = [{{ guest = "/a", content = "", owner = "nobody-here:root" }}]\n')
    error = debian.error(ID)
    assert isinstance(error, SourceError)
    assert error.brief == "owner 'nobody-here:root': 'nobody-here' is not in the guest's /etc/passwd"
    assert not debian.cow().exists()


def test_a_symlink_at_the_end_is_replaced_and_where_it_led_is_untouched(
    debian: Project, tmp_path: Path
) -> None:
    on_the_host = tmp_path / "victim"
    on_the_host.write_text("the host's own")
    with_files(
        debian, {"etc/real": "untouched"}, {"etc/app.conf": "/etc/real", "etc/resolv.conf": str(on_the_host)}
    )
    guest = built(debian, f'{WEB}file = [{{ guest = "/etc/app.conf", content = "mine" }}]\n{NETWORK}')
    assert (guest.stat("/etc/app.conf").type, guest.text("/etc/app.conf")) == ("regular", "mine")
    assert guest.text("/etc/real") == "untouched"
    assert guest.stat("/etc/resolv.conf").type == "regular"
    assert on_the_host.read_text() == "the host's own"
    assert not guest.exists(str(on_the_host))


def test_symlinks_on_the_way_are_followed_inside_the_guest(debian: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    links = {"opt": "usr/local", "var/app": str(outside), "up": "../../../../../srv/up"}
    with_files(debian, {"usr/local/keep": "", "srv/up/keep": ""}, links)
    files = ", ".join(
        f'{{ guest = "{path}", content = "mine" }}' for path in ("/opt/bin/x", "/var/app/y", "/up/z")
    )
    guest = built(debian, f"{WEB}file = [{files}]\nguest.fstab = false\n")
    assert guest.text("/usr/local/bin/x") == "mine"
    assert guest.text(f"{outside}/y") == "mine"
    assert guest.text("/srv/up/z") == "mine"
    assert list(outside.iterdir()) == []


def test_a_hard_link_at_the_end_is_replaced_and_its_other_name_is_untouched(debian: Project) -> None:
    built(debian, WEB)
    with debian.as_guest() as disk:
        disk.write_file("/etc/one", b"shared")
        disk.link("/etc/two", "/etc/one")
    guest = built(debian, f'{WEB}file = [{{ guest = "/etc/two", content = "mine" }}]\n')
    assert (guest.text("/etc/one"), guest.text("/etc/two")) == ("shared", "mine")
    assert (guest.stat("/etc/one").links, guest.stat("/etc/two").links) == (1, 1)


IN_THE_WAY: dict[str, tuple[dict[str, str | bytes], dict[str, str], str]] = {
    "a directory at its end": ({"etc/app/x": ""}, {}, "/etc/app"),
    "a file on the way": ({"etc/app": "a file"}, {}, "/etc/app/x/y"),
    "a loop on the way": ({}, {"etc/app": "other", "etc/other": "app"}, "/etc/app/x"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_a_path_that_leads_nowhere_is_an_error_that_names_it(debian: Project, case: str) -> None:
    files, links, path = IN_THE_WAY[case]
    with_files(debian, files, links)
    debian.write(f'{WEB}file = [{{ guest = "{path}", content = "mine" }}]\n')
    error = debian.error(ID)
    assert isinstance(error, GuestPathError)
    assert path in error.brief or path.rpartition("/")[0] in error.brief
    assert ".staging" not in error.brief
    assert not debian.cow().exists()


# synced host files


@pytest.fixture
def site(debian: Project) -> Path:
    """A host tree with a bit of everything."""
    top = debian.directory / "site"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "sub").chmod(0o750)
    (top / "index.html").write_text("<h1>hello</h1>\n")
    (top / "index.html").chmod(0o640)
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "sub" / "deep" / "data").write_bytes(bytes(range(256)) * 4000)
    (top / "sub" / "link").symlink_to("../index.html")
    (top / "abroad").symlink_to("/etc/hostname")
    (top / "twin").hardlink_to(top / "index.html")
    (top / "cache.pyc").write_text("")
    (top / ".git").mkdir()
    (top / ".git" / "HEAD").write_text("ref")
    return top


SYNC = f'{WEB}[[vm.web.file_sync]]\nhost = "site"\nguest = "/srv/site"\n'


def test_a_host_tree_is_copied_with_its_modes_its_links_and_roots_owner(debian: Project, site: Path) -> None:
    guest = built(debian, SYNC)
    assert guest.text("/srv/site/index.html") == "<h1>hello</h1>\n"
    assert guest.read("/srv/site/sub/deep/data") == bytes(range(256)) * 4000
    modes = {
        name: guest.stat(f"/srv/site/{name}").mode for name in ("index.html", "run.sh", "sub", "sub/deep")
    }
    assert modes == {"index.html": "0640", "run.sh": "0755", "sub": "0750", "sub/deep": "0755"}
    assert guest.stat("/srv/site/sub/link").target == "../index.html"
    assert guest.stat("/srv/site/abroad").target == "/etc/hostname"
    assert guest.stat("/srv/site/twin").links == 2
    assert {guest.stat(f"/srv/site/{name}").owner for name in ("index.html", "sub", "sub/link")} == {"0:0"}


def test_a_host_tree_may_be_given_a_mode_an_owner_and_exclusions(debian: Project, site: Path) -> None:
    guest = built(
        debian,
        SYNC + 'mode = "0600"\nowner = "www-data:www-data"\nexclude = ["*.pyc", ".git", "/sub/deep"]\n',
    )
    assert guest.names("/srv/site") == {"index.html", "run.sh", "sub", "abroad", "twin"}
    assert guest.names("/srv/site/sub") == {"link"}
    for name in ("index.html", "run.sh"):
        found = guest.stat(f"/srv/site/{name}")
        assert (found.mode, found.owner) == ("0600", "33:33")
    assert (guest.stat("/srv/site/sub").mode, guest.stat("/srv/site/sub").owner) == ("0750", "33:33")


def test_directories_that_the_guest_has_keep_their_owner_and_mode(debian: Project, site: Path) -> None:
    built(debian, WEB)
    with debian.as_guest() as disk:
        disk.make_directory("/srv")
        disk.make_directory("/srv/site", mode=0o711, uid=5, gid=6)
        disk.make_directory("/srv/site/sub", mode=0o700, uid=7, gid=8)
        disk.write_file("/srv/site/mine", b"the guest's")
    guest = built(debian, SYNC)
    assert [(guest.stat(path).mode, guest.stat(path).owner) for path in ("/srv/site", "/srv/site/sub")] == [
        ("0711", "5:6"),
        ("0700", "7:8"),
    ]
    assert guest.text("/srv/site/mine") == "the guest's"
    assert guest.text("/srv/site/index.html") == "<h1>hello</h1>\n"


def test_sockets_fifos_and_devices_are_left_out_with_a_warning(
    debian: Project, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        os.mkfifo("fifo")
        guest = built(debian, SYNC)
    assert not {"socket", "fifo"} & guest.names("/srv/site")
    assert [warning for warning in debian.warnings if "left out" in warning] == [
        f"{ID}: 'site/fifo' is a fifo and is left out",
        f"{ID}: 'site/socket' is a socket and is left out",
    ]


def test_one_file_is_synced_to_the_very_path(debian: Project) -> None:
    (debian.directory / "dotfile").write_text("[user]\n")
    (debian.directory / "link").symlink_to("dotfile")
    guest = built(debian, f'{WEB}file_sync = [{{ host = "link", guest = "~/.gitconfig", mode = "0600" }}]\n')
    assert guest.text("/root/.gitconfig") == "[user]\n"
    assert (guest.stat("/root/.gitconfig").type, guest.stat("/root/.gitconfig").mode) == ("regular", "0600")


def test_a_host_directory_may_be_a_symlink_itself(debian: Project, site: Path) -> None:
    site.rename(debian.directory / "real")
    site.symlink_to("real")
    assert built(debian, SYNC).stat("/srv/site").type == "directory"


def test_a_synced_file_stands_in_for_a_default(debian: Project) -> None:
    (debian.directory / "etc").mkdir()
    (debian.directory / "etc" / "hosts").write_text("mine\n")
    guest = built(debian, f'{WEB}file_sync = [{{ host = "etc", guest = "/etc" }}]\n')
    assert guest.text("/etc/hosts") == "mine\n"
    assert guest.text("/etc/hostname") == "web\n"


def test_a_sparse_host_file_is_synced_with_all_its_content(debian: Project) -> None:
    (debian.directory / "site").mkdir()
    with (debian.directory / "site/sparse").open("wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"in the middle")
    guest = built(debian, f'{WEB}file_sync = [{{ host = "site", guest = "/srv/site" }}]\n')
    assert guest.read("/srv/site/sparse") == (debian.directory / "site/sparse").read_bytes()


def test_a_declared_file_wins_over_a_synced_one_in_its_place(debian: Project, site: Path) -> None:
    (site / "own").write_text("synced\n")
    guest = built(debian, f'{SYNC}[[vm.web.file]]\nguest = "/srv/site/own"\ncontent = "declared"\n')
    assert guest.text("/srv/site/own") == "declared"


@pytest.mark.parametrize(
    "where",
    ['file = [{ guest = "/var/run/x", content = "" }]', 'file_sync = [{ host = "site", guest = "/var" }]'],
)
def test_what_a_tmpfs_would_hide_is_an_error_through_a_symlink_too(debian: Project, where: str) -> None:
    with_files(debian, {"run/keep": ""}, {"var/run": "/run"})
    (debian.directory / "site/run").mkdir(parents=True)
    (debian.directory / "site/run/x").write_text("")
    debian.write(f"{WEB}{where}\n")
    hidden = "'/var/run/x' leads to '/run/x', which a tmpfs hides from the guest, in 'vms/web/root.cow'"
    assert debian.error(ID).brief == hidden
    assert not debian.cow().exists()


def test_a_file_where_a_synced_directory_goes_is_an_error(debian: Project, site: Path) -> None:
    with_files(debian, {"srv/site": "a file"})
    debian.write(SYNC)
    error = debian.error(ID)
    assert "/srv/site" in error.brief
    assert not debian.cow().exists()


def test_a_synced_tree_may_be_large_without_being_held_in_memory(debian: Project) -> None:
    (debian.directory / "big").write_bytes(os.urandom(MIB) * 200)
    debian.write(
        '[image.debian.rootfs]\ntar = "root.tar"\nsize = "320MiB"\n[vm.web]\nimage = "debian"\n'
        'file_sync = [{ host = "big", guest = "/srv/big" }]\n'
    )
    code = (
        "import re, sys\nfrom pathlib import Path\nfrom tests.projects import Project\n"
        "project = Project(Path(sys.argv[1]))\nproject.build()\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, debian.directory],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 160 * 1024  # of which Python and its libraries take a third
    guest = debian.guest()
    guest.assert_clean()
    dumped = debian.directory / "dumped"
    subprocess.run(
        [need("debugfs"), "-R", f"dump /srv/big {dumped}", str(guest.path)], check=True, capture_output=True
    )
    assert clone.digest(dumped) == clone.digest(debian.directory / "big")


# a second time

CHANGES: dict[str, Callable[[str], str]] = {
    "another host name": lambda text: text.replace("[vm.web]\n", '[vm.web]\nhostname = "renamed"\n'),
    "one file more": lambda text: text + 'file = [{ guest = "/srv/new/file", content = "new" }]\n',
    "a name server": lambda text: text + 'network.dns = ["9.9.9.9"]\n',
    "a switch": lambda text: text + "guest.hosts = false\n",
}


@pytest.mark.parametrize("change", CHANGES)
def test_updating_what_no_guest_has_touched_gives_the_bytes_of_a_fresh_build(
    debian: Project, change: str
) -> None:
    built(debian, f"{WEB}ssh_authorized_keys = ['{KEY}']\n")
    text = CHANGES[change](WEB)
    debian.write(text)
    assert debian.plan()[ID].verb is Verb.UPDATE
    debian.build()
    updated = debian.cow().read_bytes()
    debian.cow().unlink()
    built(debian, text)
    assert debian.cow().read_bytes() == updated


def test_a_second_run_keeps_everything(debian: Project, site: Path) -> None:
    built(debian, SYNC + NETWORK)
    before = stat_but_atime(debian.cow())
    assert {action.verb for action in debian.plan().values()} == {Verb.KEEP}
    assert {result.outcome for result in debian.apply().values()} == {Outcome.SKIPPED}
    assert stat_but_atime(debian.cow()) == before


def live(debian: Project) -> None:
    """A guest's first life: an identity, some data, a changed setting."""
    with debian.as_guest() as disk:
        disk.write_file("/etc/machine-id", b"11111111111111111111111111111111\n", mode=0o444)
        disk.write_file("/etc/ssh/ssh_host_ed25519_key", b"the guest's own key", mode=0o600)
        disk.make_directory("/var/lib/app")
        disk.write_file("/var/lib/app/data", os.urandom(2 * MIB), uid=33, gid=33)
        disk.write_file("/etc/app.conf", b"the guest's own setting\n")
        disk.set_attributes("/etc/ssh", mode=0o700)


def snapshot(guest: Disk, *paths: str) -> dict[str, tuple[bytes, object]]:
    return {path: (guest.read(path), guest.stat(path)) for path in paths}


def test_updating_a_guests_root_changes_the_declared_files_and_nothing_else(debian: Project) -> None:
    built(debian, WEB)
    live(debian)
    own = (
        "/etc/machine-id",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/lib/app/data",
        "/etc/app.conf",
        "/etc/passwd",
        "/etc/hosts",
    )
    before = snapshot(debian.guest(), *own)
    image = debian.image().read_bytes()
    guest = built(debian, f'{WEB}[[vm.web.file]]\nguest = "/etc/motd"\ncontent = "hello\\n"\n')
    assert guest.text("/etc/motd") == "hello\n"
    after = snapshot(guest, *own)
    assert {path: found[0] for path, found in after.items()} == {
        path: found[0] for path, found in before.items()
    }
    assert after["/var/lib/app/data"] == before["/var/lib/app/data"]
    assert guest.stat("/etc/ssh").mode == "0700"
    assert debian.image().read_bytes() == image
    assert debian.cow().stat().st_mode & 0o777 == 0o600


def test_users_that_the_guest_made_may_own_declared_files(debian: Project) -> None:
    built(debian, WEB)
    with debian.as_guest() as disk:
        disk.write_file("/etc/passwd", f"{DEBIAN['etc/passwd']!s}app:x:1500:1500::/:/bin/sh\n".encode())
    guest = built(debian, f'{WEB}file = [{{ guest = "/etc/a", content = "", owner = "app:root" }}]\n')
    assert guest.stat("/etc/a").owner == "1500:0"


def test_a_failed_update_leaves_a_guests_root_untouched(debian: Project) -> None:
    built(debian, WEB)
    live(debian)
    before = debian.cow().read_bytes()
    files = '[{ guest = "/etc/ok", content = "" }, { guest = "/var/lib/app", content = "" }]'
    debian.write(f"{WEB}file = {files}\n")
    assert debian.blocked(ID)["guest"] == "/var/lib/app"
    assert debian.cow().read_bytes() == before


def test_a_file_that_leaves_the_manifest_leaves_a_root_that_is_still_ours(debian: Project) -> None:
    built(debian, f'{WEB}file = [{{ guest = "/etc/motd", content = "hello" }}]\n')
    assert not built(debian, WEB).exists("/etc/motd")


def test_a_source_that_changed_is_copied_again(debian: Project, site: Path) -> None:
    built(debian, SYNC)
    (site / "index.html").write_text("<h1>again</h1>\n")
    assert codes(debian.plan()[ID].reasons) == ["source-changed"]
    assert built(debian, SYNC).text("/srv/site/index.html") == "<h1>again</h1>\n"


def crash(project: Project) -> None:
    """Leave the store as a VM does that is killed: its superblock says that the journal must be replayed."""
    merged = project.guest().path
    subprocess.run(
        [need("debugfs"), "-w", "-R", "feature needs_recovery", str(merged)], check=True, capture_output=True
    )
    with (
        RawFile(project.base()) as base,
        SnapshotStore(base, project.cow(), writable=True) as disk,
        merged.open("rb") as file,
    ):
        disk.write(0, file.read(4096))
        disk.commit()


def test_a_disk_that_was_not_shut_down_has_a_plan_and_is_patched(debian: Project) -> None:
    built(debian, WEB)
    crash(debian)
    debian.write(f'{WEB}hostname = "renamed"\n')
    before = debian.cow().read_bytes()
    diffs = {diff.guest for diff in debian.plan()[ID].diffs}
    assert "/etc/hostname" in diffs
    assert debian.cow().read_bytes() == before
    debian.build()
    guest = debian.guest()
    guest.assert_clean()
    assert guest.text("/etc/hostname") == "renamed\n"


def test_a_damaged_disk_stops_its_own_patch_and_no_other(debian: Project) -> None:
    built(debian, f'{WEB}[vm.db]\nimage = "debian"\n')
    with debian.cow().open("r+b") as file:
        file.write(b"no store")
    debian.write(f'{WEB}hostname = "renamed"\n[vm.db]\nimage = "debian"\nhostname = "other"\n')
    assert debian.plan()["vm.web.root"].verb is Verb.BLOCKED
    results = debian.apply()
    assert (results[ID].outcome, results["vm.db.root.patch"].outcome) == (Outcome.SKIPPED, Outcome.DONE)
    assert debian.cow().read_bytes()[:8] == b"no store"
