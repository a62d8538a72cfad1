"""A VM of typed values, and what it is warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.declared import VM, FileSync, GuestDefaults, InlineFile, Mount, Network, Root
from bangerbuild.model import HostPath
from tests.manifest.loading import FULL_VM, loaded
from tests.manifests import MINIMAL

if TYPE_CHECKING:
    from pathlib import Path


def test_every_key_of_a_vm_arrives(directory: Path) -> None:
    assert loaded(FULL_VM).vms["web"] == VM(
        name="web",
        image="debian",
        hostname="Web.example.org",
        vcpus=2,
        memory_bytes=1 << 30,
        drop_mounts=("/srv",),
        root=Root("snapshot", 8 << 30, "keep"),
        guest=GuestDefaults(sshd=False),
        network=Network(
            mode="cmdline",
            address="172.16.0.10/24",
            gateway="172.16.0.1",
            dns=("1.1.1.1", "9.9.9.9"),
            mac="06:00:ac:10:00:0a",
            tap="vm7",
        ),
        files=(InlineFile("/root/app.conf", "port = 80\n", 0o4755, "app:1000"),),
        file_syncs=(
            FileSync(HostPath(directory / "tree", "tree"), "/opt/tree", 0o600, exclude=("*.pyc", ".git")),
        ),
        mounts=(Mount("//nas/my share", "/mnt/my share", "cifs", ("ro", "nofail"), 1, 2),),
    )


def test_a_host_name_that_linux_does_not_take_gets_a_warning() -> None:
    name = "a" * 60 + ".example"
    manifest = loaded(MINIMAL + f'hostname = "{name}"')
    assert manifest.warnings == (
        "vm.web: its host name is 68 characters long, and Linux takes no more than 64",
    )


@pytest.mark.parametrize("vcpus", [33, 64])
def test_a_number_of_vcpus_that_firecracker_does_not_take_gets_a_warning(vcpus: int) -> None:
    assert loaded(MINIMAL + f"vcpus = {vcpus}").warnings == (
        f"vm.web.vcpus is {vcpus}, and Firecracker takes at most 32",
    )


@pytest.mark.parametrize("vcpus", [1, 3, 32])
def test_a_number_of_vcpus_that_firecracker_takes_gets_none(vcpus: int) -> None:
    assert loaded(MINIMAL + f"vcpus = {vcpus}").warnings == ()


def test_a_warning_about_the_defaults_is_given_once_for_all_vms() -> None:
    manifest = loaded("[defaults]\nvcpus = 40\n" + MINIMAL + '[vm.other]\nimage = "debian"')
    assert manifest.warnings == ("defaults.vcpus is 40, and Firecracker takes at most 32",)
