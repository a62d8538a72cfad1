"""One Debian image, two VMs, built once and booted once; every test reads what the two reported."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.account import Account, ordinary_account
from tests.boot.debian import KERNEL, ROOTFS, copy_with, tarball
from tests.boot.initrd import unpack_kernel
from tests.boot.machine import Machine, probe_script, write_probe_units
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator

MACS = {"web": "06:00:ac:10:00:0a", "db": "06:00:ac:10:00:0b"}
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJd8sGVkUXl0M2m4YZNTxnCKrcJ2RvqN7r1bW8ZTh0Qe boot@test"

OPPOSITE = """\
PasswordAuthentication yes
PermitRootLogin yes
KbdInteractiveAuthentication yes
"""
"""What cloud images bring along, in a file that sorts after ours."""

QUESTIONS = {
    "hostname": "hostname",
    "/etc/hostname": "cat /etc/hostname",
    "/etc/hosts": "cat /etc/hosts",
    "/etc/resolv.conf": "cat /etc/resolv.conf",
    "addresses": "ip -4 -j addr",
    "routes": "ip -4 -j route",
    "mounts": "findmnt -J --list",
    "mount modes": "stat -c '%n %a' /run /tmp /scratch",
    "site": r"find /srv/site -printf '%P %y %m %u:%g %l\n'",
    "site page": "cat /srv/site/index.html",
    "ssh directory": r"find /root/.ssh -printf '%p %y %m %U:%G\n'",
    "authorized keys": "cat /root/.ssh/authorized_keys",
    "cloud-init": "cat /etc/ssh/sshd_config.d/50-cloud-init.conf",
    "sshd": "sshd -T -C user=root,host=client,addr=192.0.2.1",
    "sshd runs": "systemctl is-active ssh.service",
    "failed units": "systemctl --failed --no-legend --plain",
    "machine-id": "cat /etc/machine-id",
    "host keys": "sh -c 'cat /etc/ssh/ssh_host_*_key.pub'",
    "small file": """sh -c 'echo "written on $(hostname)" | tee /var/tmp/from-guest'""",
    "large file": "sh -c 'head -c 3000000 /dev/urandom >/var/tmp/large; sha256sum </var/tmp/large'",
}

MANIFEST: dict[str, Any] = {
    "image": {"bookworm": {"rootfs": {"tar": "bookworm.tar", "size": "1GiB"}}},
    "file": [{"guest": "/usr/local/sbin/boot-probe", "mode": "0755", "content": probe_script(QUESTIONS)}],
    "file_sync": [{"host": "units", "guest": "/etc/systemd/system"}],
    "mount": [{"source": "tmpfs", "target": "/scratch", "fstype": "tmpfs", "options": ["size=16m", "nodev"]}],
    "vm": {
        "web": {
            "image": "bookworm",
            "ssh_authorized_keys": [PUBLIC_KEY],
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1", "dns": ["9.9.9.9", "1.1.1.1"]},
            "file_sync": [
                {"host": "site", "guest": "/srv/site", "owner": "www-data:adm", "exclude": ["*.bak"]}
            ],
        },
        "db": {
            "image": "bookworm",
            "hostname": "db.example.org",
            "network": {"address": "172.16.0.11/24"},
        },
    },
}


@dataclass(frozen=True)
class Project:
    """A directory with a manifest, and whose it is."""

    directory: Path
    account: Account

    def bangerbuild(self, *arguments: str) -> bytes:
        """What the command writes on stdout; anything but success fails the test."""
        done = self.account.bangerbuild(*arguments, cwd=self.directory)
        said = (done.stdout[-4000:] + done.stderr[-4000:]).decode(errors="replace")
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{said}"
        return done.stdout

    def cat(self, vm: str, guest_path: str) -> bytes:
        """A guest file as our own command reads it out of the VM's store."""
        return self.bangerbuild("cat", str(self.root(vm)), guest_path)

    def apply(self) -> dict[str, Any]:
        """The document that `apply --json` prints."""
        document: dict[str, Any] = json.loads(self.bangerbuild("apply", "--json"))
        return document

    def vm(self, name: str) -> Path:
        """The VM's directory in the store."""
        return self.directory / "build" / "vms" / name

    def root(self, vm: str) -> Path:
        """The VM's exception store."""
        return self.vm(vm) / "root.cow"

    @property
    def base(self) -> Path:
        """The image both stand on."""
        (image,) = (self.directory / "build" / "images" / "bookworm").glob("*/rootfs.ext4")
        return image


@dataclass(frozen=True)
class Built:
    """A project after its first apply, before anything ran."""

    project: Project
    applied: dict[str, Any]
    base_digest: str


def digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory that any user can reach; pytest's own are closed to others."""
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("mke2fs", "e2fsprogs")):
        need(program, package)
    directory = Path(tempfile.mkdtemp(prefix="bangerbuild-boot-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def account(scratch: Path) -> Account:
    """Who runs the tool."""
    home = scratch / "home"
    home.mkdir()
    return ordinary_account(home)


@pytest.fixture(scope="session")
def built(scratch: Path, account: Account) -> Built:
    """The two VMs of MANIFEST, as the first `apply` leaves them."""
    directory = scratch / "project"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    copy_with(ROOTFS, directory / "bookworm.tar", "/etc/ssh/sshd_config.d/50-cloud-init.conf", OPPOSITE)
    _write_site(directory / "site")
    write_probe_units(directory / "units")
    account.take(directory)
    project = Project(directory, account)
    applied = project.apply()
    return Built(project, applied, digest(project.base))


def _write_site(site: Path) -> None:
    """A tree with a mode of every sort, a link, a name that needs care and a file to leave out."""
    (site / "assets").mkdir(parents=True)
    for name, mode in (
        ("index.html", 0o644),
        ("deploy.sh", 0o755),
        ("assets/key.pem", 0o600),
        ("old.bak", 0o644),
    ):
        (site / name).write_text(f"this is {name}\n")
        (site / name).chmod(mode)
    (site / "assets" / "zwei Wörter.txt").write_text("")
    (site / "assets" / "zwei Wörter.txt").chmod(0o640)
    (site / "latest").symlink_to("assets/../index.html")
    (site / "assets").chmod(0o750)
    site.chmod(0o755)


@pytest.fixture(scope="session")
def reports(built: Built, scratch: Path) -> dict[str, dict[str, str]]:
    """What each VM said of itself; both are booted at once and have powered off cleanly."""
    directory = scratch / "machines"
    directory.mkdir()
    kernel, initrd = unpack_kernel(tarball(KERNEL), directory)
    machines = [
        Machine(name, kernel, initrd, built.project.base, built.project.root(name), mac, directory)
        for name, mac in MACS.items()
    ]
    with ThreadPoolExecutor() as pool:
        return dict(zip(MACS, pool.map(Machine.boot, machines), strict=True))


@pytest.fixture
def copied(built: Built, reports: dict[str, dict[str, str]], scratch: Path) -> Iterator[Project]:
    """The whole project after the guests ran, copied, to be changed freely; inodes and times differ."""
    directory = scratch / "copy"
    command = [need("cp", "coreutils"), "-r", "--no-dereference", "--sparse=always"]
    subprocess.run([*command, built.project.directory, directory], check=True)
    built.project.account.take(directory)
    yield replace(built.project, directory=directory)
    shutil.rmtree(directory)
