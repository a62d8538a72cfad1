"""Two VMs with all their disks and Debian's own kernel, started by qemu.sh, entered by ssh."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import BOOTABLE, Added, add, content_of, copy_with
from tests.boot.launched import Launched, SshClient, launched
from tests.boot.machine import interview, parse_report
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.disk.qemu_img import checked, converted

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machines are built and booted once.
pytestmark = pytest.mark.boot

MANIFEST: dict[str, Any] = {
    "defaults": {
        "image": "bookworm",
        "memory": "384MiB",
        "root": {"format": "raw"},
        "ssh_authorized_keys": ["./id_ed25519.pub"],
    },
    "image": {
        "bookworm": {
            "kernel": {"guest": "/boot/vmlinuz-*"},
            "initrd": {"guest": "/boot/initrd.img-*"},
            "rootfs": {"tar": "bookworm.tar"},
            "work_seed": {"directory": "skel", "size": "16MiB"},
        }
    },
    "vm": {
        "web": {
            "vcpus": 2,
            "root": {"size": "2GiB"},
            "work": {"size": "64MiB"},
            "disk": [{"name": "data", "size": "32MiB", "mount": "/data"}],
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1"},
            "file": [
                {"guest": "/etc/app.conf", "content": "port = 80\n", "mode": "0640", "owner": "root:adm"},
                {"guest": "~/notes", "content": "buy milk\n", "mode": "0600"},
                {"guest": "/data/inbox/hello", "content": "hello\n", "owner": "1000:1001"},
            ],
            "file_sync": [
                {"host": "site", "guest": "/srv/site", "owner": "www-data:adm"},
                {"host": "site", "guest": "~/site"},
                {"host": "site", "guest": "/data/site", "owner": "www-data:www-data"},
            ],
        },
        "db": {
            "root": {"format": "qcow2", "size": "3GiB"},
            "work": False,
            "network": {"address": "10.1.2.3/16", "gateway": "10.1.0.1"},
            "file_sync": [{"host": "sockets", "guest": "/etc/systemd/system/sockets.target.wants"}],
        },
    },
}

EXTRA = ("-smbios", "type=1,serial=given-as-an-argument")
"""An argument for QEMU of which the guest can tell."""

IMAGE_ID = "0123456789abcdef0123456789abcdef\n"
"""What a machine that was made an image leaves behind: systemd would take it for the guest's own."""

HOSTS = """\
::1\tlocalhost ip6-localhost ip6-loopback
10.9.8.7 registry
"""
FSTAB = """\
LABEL=cloudimg-rootfs\t/ ext4\tdiscard,errors=remount-ro 0 1
LABEL=UEFI /boot/efi vfat umask=0077 0 1
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 none swap sw 0 0
/dev/sdb1 /mnt auto defaults,nofail,x-systemd.device-timeout=1ms 0 2
"""
"""A cloud image's, whose devices were partitions; the VM would wait 90 s for them and then stop."""
ABSENT = ("LABEL=cloudimg-rootfs", "LABEL=UEFI", "UUID=0a3407de-014b-458b-b5c1-848e92a327a3")

CREDENTIALS = "/root /root/.ssh /root/.ssh/authorized_keys"
WRITTEN = {"root": "/var/tmp/from-guest", "work": "/from-guest", "data": "/from-guest"}
"""Each disk of web, and a file that its guest writes there; the path is the disk's own."""
TREES = "/srv/site /root /data"
FILES = "/etc/app.conf /root/notes /data/inbox/hello"

QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed units": "systemctl --failed --no-legend --plain",
    "hostname": "hostname",
    "processors": "nproc",
    "serial": "cat /sys/class/dmi/id/product_serial",
    "mounts": "findmnt -J --list -o TARGET,FSTYPE,OPTIONS,LABEL",
    "fstab": "cat /etc/fstab",
    "card": "ip -j addr",
    "routes": "ip -4 -j route",
    "trees": rf"find {TREES} -name lost+found -prune -o -printf '%p %y %m %U:%G %u:%g\n'",
    "files": f"stat -c '%n %a %u:%g' {FILES}",
    "contents": f"cat {FILES} /root/.profile",
    "credentials": f"stat -c '%n %a %u:%g' {CREDENTIALS}",
    "authorized keys": "cat /root/.ssh/authorized_keys",
    "sshd": "sshd -T -C user=root,host=client,addr=192.0.2.1",
    "sshd of dev": "sshd -T -C user=dev,host=client,addr=192.0.2.1",
    "sockets": "systemctl is-active ssh.socket",
    "cycles": "sh -c 'journalctl -b -o cat | grep -i \"ordering cycle\"'",
    "hosts": "cat /etc/hosts",
    "first boot": "test -e /run/systemd/first-boot",
    "leftovers": "ls /var/lib/cloud/seed",
    "machine-id": "cat /etc/machine-id",
    "host keys": "sh -c 'cat /etc/ssh/ssh_host_*_key.pub'",
}
WRITE = """\
cd / && mkdir -p data
echo "written on $(hostname)" | tee root/from-guest data/from-guest var/tmp/from-guest
"""


@dataclass(frozen=True)
class Visit:
    """What one VM said over ssh; it has powered off cleanly since."""

    report: dict[str, str]
    with_password: subprocess.CompletedProcess[str]
    """A login that offers everything but the key."""
    as_dev: subprocess.CompletedProcess[str]
    """A login of the image's own user with the key that the image has for it."""
    dev_as_root: subprocess.CompletedProcess[str]
    """A login as root with that key."""
    applied: dict[str, Any]
    """What `apply` said while the VM was running."""


Visits = dict[str, Visit]


@pytest.fixture(scope="module")
def client(scratch: Path) -> SshClient:
    """Who logs in."""
    return SshClient.with_new_key(scratch / "client")


@pytest.fixture(scope="module")
def dev(scratch: Path) -> SshClient:
    """Another person, whom the image knows as its user dev."""
    return SshClient.with_new_key(scratch / "dev")


@pytest.fixture(scope="module")
def project(scratch: Path, account: Account, client: SshClient, dev: SshClient) -> Project:
    """The VMs of MANIFEST after their first `apply`."""
    directory = scratch / "login"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "id_ed25519.pub").write_text(client.public_key)
    copy_with(BOOTABLE, directory / "bookworm.tar", "/etc/machine-id", IMAGE_ID)
    _add_what_a_machine_leaves(directory / "bookworm.tar", dev)
    (directory / "sockets").mkdir()
    (directory / "sockets" / "ssh.socket").symlink_to("/lib/systemd/system/ssh.socket")
    _write_skeleton(directory / "skel" / "root")
    _write_site(directory / "site")
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    return project


def _add_what_a_machine_leaves(image: Path, dev: SshClient) -> None:
    """Make the image one of a machine that ran elsewhere, with a user of its own."""
    user = "dev:*:1000:1000::/home/dev:/bin/sh\n"
    home = ("/home/dev", "/home/dev/.ssh")
    add(
        image,
        (
            Added("/etc/passwd", content_of(image, "/etc/passwd") + user),
            Added("/etc/fstab", FSTAB),
            Added("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 image\n{HOSTS}"),
            Added("/etc/ssh/ssh_host_ed25519_key", "", 0o600),
            Added("/var/lib/dbus/machine-id", IMAGE_ID),
            Added("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-1\n"),
            *(Added(path, mode=0o700, owner=1000, kind=tarfile.DIRTYPE) for path in home),
            Added("/home/dev/.ssh/authorized_keys", dev.public_key, 0o600, 1000),
        ),
    )


def _write_skeleton(home: Path) -> None:
    """A home directory with modes that sshd would not let pass."""
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh").chmod(0o777)
    (home / ".ssh" / "authorized_keys").write_text("")
    (home / ".ssh" / "authorized_keys").chmod(0o666)
    (home / ".profile").write_text("umask 022\n")
    home.chmod(0o775)


def _write_site(site: Path) -> None:
    (site / "bin").mkdir(parents=True)
    for name, mode in (("index.html", 0o644), ("bin/deploy", 0o755), ("bin/token", 0o600)):
        (site / name).write_text(f"this is {name}\n")
        (site / name).chmod(mode)
    (site / "bin").chmod(0o750)
    site.chmod(0o755)


@pytest.fixture(scope="module")
def visits(project: Project, client: SshClient, dev: SshClient, scratch: Path) -> Visits:
    """Both VMs are run at once, asked, and powered off from inside."""

    def visit(vm: str) -> Visit:
        with launched(project, vm, scratch / f"{vm}.console", *EXTRA) as machine:
            machine.wait_for_sshd()
            seen = _ask(client, dev, machine, project)
            client.run(machine, "systemctl poweroff")
            machine.wait_until_off()
        return seen

    with ThreadPoolExecutor() as pool:
        return dict(zip(MANIFEST["vm"], pool.map(visit, MANIFEST["vm"]), strict=True))


def _ask(client: SshClient, dev: SshClient, machine: Launched, project: Project) -> Visit:
    answers = client.run(machine, "sh -s", script=f"{interview(QUESTIONS)}{WRITE}")
    assert answers.returncode == 0, answers.stderr
    refused = client.run(
        machine,
        "true",
        PubkeyAuthentication="no",
        PreferredAuthentications="none,password,keyboard-interactive",
    )
    as_dev, dev_as_root = dev.run(machine, "id -un", user="dev"), dev.run(machine, "true")
    return Visit(parse_report(answers.stdout), refused, as_dev, dev_as_root, project.apply())


def mounts(visit: Visit) -> dict[str, dict[str, str]]:
    """Mount target to its type, options and label; of several on one target the uppermost."""
    return {entry["target"]: entry for entry in json.loads(visit.report["mounts"])["filesystems"]}


def card(visit: Visit) -> dict[str, Any]:
    """The network card, as `ip` shows it."""
    (found,) = (link for link in json.loads(visit.report["card"]) if link["ifname"] != "lo")
    return dict(found)


# Seen from inside


def test_the_key_of_the_manifest_lets_its_owner_in(visits: Visits, client: SshClient) -> None:
    for name, visit in visits.items():
        assert visit.report["hostname"] == f"{name}\n"
        assert visit.report["authorized keys"] == client.public_key


@pytest.mark.parametrize("vm", ["web", "db"])
def test_every_login_but_with_a_key_is_refused(visits: Visits, vm: str) -> None:
    assert visits[vm].with_password.returncode == 255
    assert "Permission denied (publickey)." in visits[vm].with_password.stderr


@pytest.mark.parametrize("vm", ["web", "db"])  # /root is on the work disk, and on the root
def test_all_that_sshd_checks_before_it_trusts_a_key_is_roots_alone(visits: Visits, vm: str) -> None:
    assert visits[vm].report["credentials"].splitlines() == [
        "/root 700 0:0",
        "/root/.ssh 700 0:0",
        "/root/.ssh/authorized_keys 600 0:0",
    ]
    assert "strictmodes yes" in visits[vm].report["sshd"].splitlines()


def test_sshd_reads_the_settings_of_the_drop_in(visits: Visits) -> None:
    for visit in visits.values():
        assert {
            "permitrootlogin without-password",  # what sshd -T calls prohibit-password
            "pubkeyauthentication yes",
            "passwordauthentication no",
            "kbdinteractiveauthentication no",
            "authorizedkeysfile /root/.ssh/authorized_keys",
        } <= set(visit.report["sshd"].splitlines())


@pytest.mark.parametrize("vm", ["web", "db"])
def test_the_images_own_user_logs_in_by_its_own_key_and_root_not_by_that(visits: Visits, vm: str) -> None:
    assert (visits[vm].as_dev.stdout, visits[vm].as_dev.returncode) == ("dev\n", 0), visits[vm].as_dev.stderr
    assert "Permission denied (publickey)." in visits[vm].dev_as_root.stderr
    settings = visits[vm].report["sshd of dev"].splitlines()
    assert {
        "authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2",
        "passwordauthentication no",
    } <= set(settings)


def test_keys_are_made_before_a_socket_lets_anybody_in_too(visits: Visits) -> None:
    assert [visits[vm].report["sockets"] for vm in ("web", "db")] == ["inactive\nexit status 3\n", "active\n"]
    assert {visit.report["cycles"] for visit in visits.values()} == {"exit status 1\n"}


def test_the_images_lines_for_devices_that_the_vm_lacks_are_commented_out(visits: Visits) -> None:
    for visit in visits.values():
        lines = visit.report["fstab"].splitlines()
        commented = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        assert [line for line in commented if line in FSTAB.splitlines()] == FSTAB.splitlines()[:3]
        assert FSTAB.splitlines()[3] in lines
        assert not any(line.startswith(ABSENT) for line in lines)


def test_the_images_own_hosts_stay_but_for_its_name(visits: Visits) -> None:
    for vm, visit in visits.items():
        assert visit.report["hosts"] == f"127.0.0.1 localhost\n127.0.1.1 {vm}\n{HOSTS}"


def test_the_first_boot_is_no_first_boot_of_systemds_and_no_seed_is_left(visits: Visits) -> None:
    for visit in visits.values():
        assert visit.report["first boot"] == "exit status 1\n"
        assert "nocloud" not in visit.report["leftovers"]


def test_the_boot_is_complete_and_no_unit_failed(visits: Visits) -> None:
    for visit in visits.values():
        assert (visit.report["system"], visit.report["failed units"]) == ("running\n", "")


def test_qemu_gives_the_guest_its_processors_and_takes_further_arguments(visits: Visits) -> None:
    assert [visits[vm].report["processors"] for vm in ("web", "db")] == ["2\n", "1\n"]
    assert visits["web"].report["serial"] == "given-as-an-argument\n"


@pytest.mark.parametrize(("target", "label"), [("/", None), ("/root", "work"), ("/data", "data")])
def test_each_disk_is_mounted_writable_in_its_place(visits: Visits, target: str, label: str | None) -> None:
    mount = mounts(visits["web"])[target]
    assert (mount["fstype"], mount["label"]) == ("ext4", label)
    assert "rw" in mount["options"].split(",")


def test_fstab_knows_the_disks_by_their_labels(visits: Visits) -> None:
    fields = [line.split()[:3] for line in visits["web"].report["fstab"].splitlines()]
    assert ["LABEL=work", "/root", "ext4"] in fields
    assert ["LABEL=data", "/data", "ext4"] in fields


def test_a_vm_without_a_work_disk_has_its_home_on_the_root(visits: Visits) -> None:
    assert "/root" not in mounts(visits["db"])


def test_a_declared_file_has_its_mode_and_owner_on_each_disk(visits: Visits) -> None:
    assert visits["web"].report["files"].splitlines() == [
        "/etc/app.conf 640 0:4",  # Debian's adm
        "/root/notes 600 0:0",
        "/data/inbox/hello 644 1000:1001",
    ]


def test_files_and_the_seed_are_read_as_they_were_written(visits: Visits) -> None:
    assert visits["web"].report["contents"] == "port = 80\nbuy milk\nhello\numask 022\n"


@pytest.mark.parametrize(
    ("target", "owner"),
    [
        ("/srv/site", "33:4 www-data:adm"),
        ("/root/site", "0:0 root:root"),
        ("/data/site", "33:33 www-data:www-data"),
    ],
)
def test_a_synced_tree_has_the_hosts_modes_and_the_declared_owner_on_each_disk(
    visits: Visits, target: str, owner: str
) -> None:
    found = (line for line in visits["web"].report["trees"].splitlines() if line.startswith(target))
    assert sorted(found) == [
        f"{target} d 755 {owner}",
        f"{target}/bin d 750 {owner}",
        f"{target}/bin/deploy f 755 {owner}",
        f"{target}/bin/token f 600 {owner}",
        f"{target}/index.html f 644 {owner}",
    ]


def test_a_nested_root_of_the_seed_is_the_work_disks_top(visits: Visits) -> None:
    lines = visits["web"].report["trees"].splitlines()
    assert "/root/.profile f 644 0:0 root:root" in lines
    assert not any(line.startswith("/root/root") for line in lines)


# What makes each VM itself


def test_each_vm_has_the_address_and_mac_of_its_own_and_its_gateway(visits: Visits) -> None:
    for vm, mac, address, gateway in (
        ("web", "06:00:ac:10:00:0a", ("172.16.0.10", 24), "172.16.0.1"),
        ("db", "06:00:0a:01:02:03", ("10.1.2.3", 16), "10.1.0.1"),
    ):
        found = card(visits[vm])
        ipv4 = [
            (entry["local"], entry["prefixlen"]) for entry in found["addr_info"] if entry["family"] == "inet"
        ]
        assert (found["address"], ipv4) == (mac, [address])
        routes = json.loads(visits[vm].report["routes"])
        assert [route["gateway"] for route in routes if route["dst"] == "default"] == [gateway]


def test_each_vm_has_a_machine_id_of_its_own_and_not_the_images(project: Project, visits: Visits) -> None:
    identities = [visit.report["machine-id"] for visit in visits.values()]
    assert all(len(identity) == len(IMAGE_ID) for identity in identities)
    assert len({*identities, IMAGE_ID}) == 3
    assert project.bangerbuild("cat", str(project.base), "/etc/machine-id") == IMAGE_ID.encode()


def test_each_vm_has_host_keys_of_its_own(visits: Visits) -> None:
    keys = [{line.split()[1] for line in visit.report["host keys"].splitlines()} for visit in visits.values()]
    assert all(keys)
    assert keys[0].isdisjoint(keys[1])


# From outside, while they run and afterwards


def test_applying_while_a_vm_runs_keeps_everything(visits: Visits) -> None:
    for visit in visits.values():
        assert {action["action"] for action in visit.applied["actions"]} == {"keep"}


@pytest.mark.parametrize(("disk", "path"), WRITTEN.items())
def test_cat_reads_what_the_guest_wrote_to_each_disk(
    project: Project, visits: Visits, disk: str, path: str
) -> None:
    file = project.vm("web") / f"{disk}.ext4"
    assert project.bangerbuild("cat", str(file), path) == b"written on web\n"


@pytest.mark.parametrize("disk", ["root", "work", "data"])
def test_every_disk_is_clean_after_the_shutdown(project: Project, visits: Visits, disk: str) -> None:
    assert_clean(project.vm("web") / f"{disk}.ext4")


def test_a_qcow2_root_is_clean_after_the_shutdown_and_patched_where_it_lies(
    project: Project, visits: Visits, scratch: Path
) -> None:
    root, raw = project.vm("db") / "root.qcow2", scratch / "db.raw"
    changed = MANIFEST["vm"]["db"] | {"file": [{"guest": "/etc/more", "content": "more\n"}]}
    other = MANIFEST | {"vm": MANIFEST["vm"] | {"db": changed}}
    for manifest in (other, MANIFEST):
        (project.directory / "vm.toml").write_text(tomli_w.dumps(manifest))
        applied = {action["id"]: action["action"] for action in project.apply()["actions"]}
        assert (applied["vm.db.root"], applied["vm.db.root.patch"]) == ("keep", "update")
        checked(root)
        assert_clean(converted(root, raw))
        assert debugfs(raw, "cat /var/tmp/from-guest") == b"written on db\n"
        assert debugfs(raw, "cat /etc/more") == (b"more\n" if manifest is other else b"")


def test_applying_after_the_guests_wrote_keeps_everything_theirs(project: Project, visits: Visits) -> None:
    assert {action["action"] for action in project.apply()["actions"]} == {"keep"}
    for disk, path in WRITTEN.items():
        file = project.vm("web") / f"{disk}.ext4"
        assert project.bangerbuild("cat", str(file), path) == b"written on web\n"
