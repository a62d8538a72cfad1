from __future__ import annotations

import pytest

from bangerbuild.disk.attachment import VMM_NAMES
from bangerbuild.launch.session import Session
from bangerbuild.launch.vmms import PREFERRED, VMMS, Vmm
from tests.launch.samples import WEB, WEB_BOOT


def by_name(name: str) -> Vmm:
    return next(vmm for vmm in VMMS if vmm.name == name)


def test_formats_know_each_by_its_name() -> None:
    assert {vmm.name for vmm in VMMS} == set(VMM_NAMES)


def test_qemu_comes_first_as_it_can_do_without_kvm() -> None:
    assert [vmm.name for vmm in PREFERRED] == ["qemu", "cloud-hypervisor", "firecracker"]
    assert [vmm.needs_kvm for vmm in PREFERRED] == [False, True, True]


@pytest.mark.parametrize("vmm", VMMS, ids=lambda vmm: vmm.name)
def test_further_arguments_come_last(vmm: Vmm) -> None:
    session = Session(kvm=True, network="none", arguments=("--more", "than that"))
    words = [word for option in vmm.arguments(WEB, WEB_BOOT, session) for word in option]
    assert words[-2:] == ["--more", "than that"]


@pytest.mark.parametrize("vmm", VMMS, ids=lambda vmm: vmm.name)
def test_without_a_network_none_names_the_tap_device(vmm: Vmm) -> None:
    session = Session(kvm=True, network="none")
    words = [word for option in vmm.arguments(WEB, WEB_BOOT, session) for word in option]
    assert "tap-web" not in " ".join([*words, *vmm.files(WEB, WEB_BOOT, session).values()])
    assert "tap-web" in vmm.text(WEB, WEB_BOOT)


def test_only_firecracker_wants_a_file() -> None:
    session = Session(kvm=True, network="tap")
    files = {vmm.name: list(vmm.files(WEB, WEB_BOOT, session)) for vmm in VMMS}
    assert files == {"firecracker": ["firecracker.json"], "cloud-hypervisor": [], "qemu": []}
