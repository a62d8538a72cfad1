"""A container image as a machine: examples/vms/container, whose program is the first process."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.boot.account import PROJECT
from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, tarball
from tests.boot.initrd import MOUNT_RAW, PackageTree, unpack_kernel
from tests.boot.launched import launched
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machine is built and booted once.
pytestmark = pytest.mark.boot

EXAMPLE = PROJECT / "examples" / "vms" / "container"
PROGRAM = """
echo "<$PWD|$PORT|$(id -u):$(id -g):$(id -G)|$$>"
ls -ld . | sed 's/ .*//; s/^/place /'
tr '\\0' '\\n' </proc/$$/environ | sed 's/^/env /'
cat /srv/index.html /etc/hostname
hostname
grep -c -w -e proc -e sysfs -e devtmpfs -e devpts -e mqueue -e /dev/shm /proc/mounts
ip address show lo | grep -q "inet 127.0.0.1" && echo "loopback is up"
touch /tmp/written /dev/shm/written && echo "can write"
echo "to a device" >/dev/stdout
cat /etc/mtab >/dev/null && echo "mtab is there"
(sleep 1 & exit) # an orphan, which process 1 inherits
sleep 3
ps -o stat,comm | grep -c '^Z' | sed 's/^/zombies /'
exit 7
"""
SETTINGS = ['QUOTES=it\'s "$HOME"', "A.B=a=b", "container=oci"]
EDITS = {
    '# kernel = "vmlinuz"                # with one there are scripts that start the VM': (
        'kernel = "vmlinuz"\ninitrd = "initrd.img"'
    ),
    '[vm.web]\nimage = "web"\n': '[vm.web]\nimage = "web"\nroot.format = "raw"\n',
}


@dataclass(frozen=True)
class Ran:
    """What the machine wrote to its console, and where its disk is."""

    project: Project
    console: str


@pytest.fixture(scope="module")
def ran(scratch: Path, account: Account) -> Ran:
    """The example with a program that reports and ends, built and run once by an ordinary user."""
    directory = scratch / "container"
    shutil.copytree(EXAMPLE, directory)
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    _make_image(directory, scratch / "container-bin")
    manifest = (directory / "vm.toml").read_text()
    for old, new in EDITS.items():
        assert old in manifest
        manifest = manifest.replace(old, new)
    (directory / "vm.toml").write_text(manifest)
    account.take(directory)
    applied = account.bangerbuild("apply", cwd=directory)
    assert applied.returncode == 0, applied.stderr.decode()
    project, console = Project(directory, account), scratch / "container.console"
    with launched(project, "web", console) as machine:
        machine.wait_until_off()
    return Ran(project, console.read_text(errors="replace").replace("\r", ""))


def _make_image(directory: Path, programs: Path) -> None:
    """The example's image, of Debian's static busybox, with another program and another user."""
    need("umoci")
    programs.mkdir()
    busybox = programs / "busybox"
    with tarfile.open(tarball(KERNEL)) as archive:
        busybox.write_bytes(PackageTree(archive).read(busybox.name))
    busybox.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    subprocess.run(["./make-image", "image"], cwd=directory, env=environment, check=True, capture_output=True)
    command = ["umoci", "config", "--image", "image:latest", f"--config.cmd={PROGRAM}", "--config.user=80"]
    command += ["--config.workingdir=/srv/made", *(f"--config.env={setting}" for setting in SETTINGS)]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)


def test_the_program_runs_as_the_image_says(ran: Ran) -> None:
    """As a number that passwd knows by a name, which is in a further group; in a directory of no layer."""
    assert "</srv/made|80|80:80:80 90|" in ran.console
    assert "place drwxr-xr-x" in ran.console


def test_its_environment_is_what_a_container_runtime_would_give_it(ran: Ran) -> None:
    found = [line.removeprefix("env ") for line in ran.console.splitlines() if line.startswith("env ")]
    assert sorted(found) == sorted(
        [
            "A.B=a=b",
            "HOME=/srv",
            "HOSTNAME=web",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PORT=80",
            'QUOTES=it\'s "$HOME"',
            "TERM=linux",
        ]
    )


def test_what_it_leaves_behind_is_reaped(ran: Ran) -> None:
    assert "zombies 0" in ran.console


def test_it_may_write_where_a_container_may(ran: Ran) -> None:
    assert "can write" in ran.console
    assert "to a device" in ran.console


def test_the_network_to_itself_is_up(ran: Ran) -> None:
    assert "loopback is up" in ran.console


def test_it_is_not_the_first_process_itself_which_is_the_script_that_waits_for_it(ran: Ran) -> None:
    assert "|1>" not in ran.console


def test_it_finds_what_the_layers_the_image_and_the_vm_have_put_there(ran: Ran) -> None:
    assert "<h1>Built from a container image</h1>\nweb\nweb\n" in ran.console


def test_it_finds_mounted_what_a_container_does(ran: Ran) -> None:
    assert "\n6\n" in ran.console
    assert "mtab is there" in ran.console


def test_the_machine_goes_off_when_the_program_has_ended(ran: Ran) -> None:
    assert "the program ended with exit code 7" in ran.console


def test_its_disk_is_clean_afterwards(ran: Ran) -> None:
    command = [need("e2fsck", "e2fsprogs"), "-fn", str(ran.project.vm("web") / "root.ext4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
