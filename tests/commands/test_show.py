"""What `show` says of networks: how many addresses are left, and who holds one without need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands import show
from bangerbuild.errors import UsageError
from bangerbuild.model.request import Request

if TYPE_CHECKING:
    from bangerbuild.commands.show import Declared

MANIFEST = """\
[image.ci]
rootfs.directory = "tree"
[network.lan]
subnet = "10.0.0.0/28"
reserve = ["10.0.0.3-10.0.0.5", "10.0.0.5-10.0.0.6", "10.0.0.0"]
[defaults]
image = "ci"
network.name = "lan"
[vm.a]
[vm.b]
network.address = "10.0.0.4"
[fleet.r]
names = "r-{1..2}"
vm.network = { name = "dmz" }
[network.dmz]
subnet = "10.1.0.0/24"
"""


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declared:
    monkeypatch.chdir(tmp_path)
    Path("tree").mkdir()
    Path("vm.toml").write_text(MANIFEST)
    Path("bangerbuild.lock").write_text('version = 1\n[network.lan]\ngone = "10.0.0.9"\n')
    return show.declared(Request((Path("vm.toml"),)))


def test_what_is_free_is_neither_reserved_nor_given_nor_the_gateway(declared: Declared) -> None:
    networks = show.summary_json(declared)["networks"]
    assert isinstance(networks, list)
    assert networks[:1] == [
        {
            "name": "lan",
            "subnet": "10.0.0.0/28",
            "vms": 2,
            "leased": 1,
            "unused_leases": ["gone"],
            "free": 14 - 4 - 1 - 2,
        }
    ]


def test_a_vm_is_meant_with_and_without_its_table(declared: Declared) -> None:
    assert show.vms_of(declared, "vm.a") == show.vms_of(declared, "a") == ("a",)
    with pytest.raises(UsageError):
        show.vms_of(declared, "vm.c")


def test_a_fleet_stands_for_its_members(declared: Declared) -> None:
    assert show.vms_of(declared, "fleet.r") == ("r-1", "r-2")
    with pytest.raises(UsageError, match="no fleet is called 'rr'"):
        show.vms_of(declared, "fleet.rr")
    with pytest.raises(UsageError, match=r"'network\.lan' is no VM"):
        show.vms_of(declared, "network.lan")
