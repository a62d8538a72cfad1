"""The VMs of examples/vms/root-formats that need no device of the host, each started by its qemu.sh."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.boot.account import PROJECT
from tests.boot.busybox import write_rootfs
from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, tarball
from tests.boot.initrd import MOUNT_RAW, unpack_kernel
from tests.boot.launched import launched
from tests.boot.machine import parse_report, probe_script
from tests.disk.ext4_tools import assert_clean, debugfs
from tests.disk.qemu_img import checked, converted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so each machine is built and booted once.
pytestmark = pytest.mark.boot

EXAMPLE = PROJECT / "examples" / "vms" / "root-formats"
ROOTS = {"thin": "root.qcow2", "whole": "root.ext4"}
"""The VMs of it, but for the one whose root tests/boot/test_attach.py sets up in a guest."""
QUESTIONS = {
    "hostname": "hostname",
    "size": "sh -c 'df -m / | tail -n 1'",
    "written": "sh -c 'echo by its guest >/var/log/written && sync && cat /var/log/written'",
}


@dataclass(frozen=True)
class Booted:
    """The example, built, and what each of its guests reported before it powered itself off."""

    project: Project
    reports: Mapping[str, dict[str, str]]


@pytest.fixture(scope="module")
def booted(scratch: Path, account: Account) -> Booted:
    directory = scratch / "formats"
    directory.mkdir()
    text = (EXAMPLE / "vm.toml").read_text()
    boots = '[image.busybox]\nkernel = "vmlinuz"\ninitrd = "initrd.img"\n'
    (directory / "vm.toml").write_text(text.replace("[image.busybox]\n", boots, 1))
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    rootfs = directory / "rootfs"
    write_rootfs(rootfs, scratch / "formats-bin", "report\n")
    (rootfs / "bin" / "report").write_text(probe_script(QUESTIONS, power_off="poweroff"))
    (rootfs / "bin" / "report").chmod(0o755)
    account.take(directory)
    applied = account.bangerbuild("apply", cwd=directory)
    assert applied.returncode == 0, applied.stderr.decode()
    project = Project(directory, account)
    return Booted(project, {vm: boot(project, vm, scratch) for vm in ROOTS})


def boot(project: Project, vm: str, scratch: Path) -> dict[str, str]:
    """Start a VM, and wait until it is off."""
    report = scratch / f"{vm}.report"
    report.touch()
    report.chmod(0o666)
    with launched(project, vm, scratch / f"{vm}.console", "-serial", f"file:{report}") as machine:
        machine.wait_until_off()
    return parse_report(report.read_text())


@pytest.mark.parametrize("vm", ROOTS)
def test_its_guest_is_who_it_is_said_to_be_on_a_root_of_its_size(booted: Booted, vm: str) -> None:
    report = booted.reports[vm]
    assert report["hostname"].strip() == vm
    (*_, mebibytes, _, _, _, mounted) = report["size"].split()
    assert mounted == "/"
    assert 64 < int(mebibytes) <= 96


@pytest.mark.parametrize("vm", ROOTS)
def test_what_its_guest_wrote_is_there_after_it_and_bangerbuild_reads_it(
    booted: Booted, vm: str, tmp_path: Path
) -> None:
    assert booted.reports[vm]["written"].strip() == "by its guest"
    root = booted.project.vm(vm) / ROOTS[vm]
    assert booted.project.bangerbuild("cat", str(root), "/var/log/written") == b"by its guest\n"
    raw = tmp_path / "raw.ext4"
    if root.suffix == ".qcow2":
        checked(root)
        converted(root, raw)
    else:
        shutil.copyfile(root, raw)
    assert_clean(raw)
    assert debugfs(raw, "cat /var/log/written") == b"by its guest\n"
