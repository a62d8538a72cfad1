from __future__ import annotations

import marshal
from dataclasses import replace

import pytest

from bangerbuild.declared import Network
from bangerbuild.disk.attachment import Attachment, Drive
from bangerbuild.launch import machine
from bangerbuild.launch.machine import Card, Machine, card
from tests.launch.samples import DISKS_ONLY, PLAIN, WEB


def test_the_card_is_as_declared() -> None:
    network = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", (), "06:00:ac:10:00:0a", "tap-web")
    assert card("web", network) == Card("06:00:ac:10:00:0a", "tap-web", "172.16.0.10/24", "172.16.0.1")


def test_a_card_without_a_declared_address_has_a_mac_of_the_vms_own() -> None:
    macs = {name: card(name, Network(tap="tap0")).mac for name in ("web", "db")}
    assert macs == {"web": "06:01:4b:5e:57:f6", "db": "06:01:7b:dc:25:d1"}


JOINED = replace(
    PLAIN,
    root=Attachment(
        (
            Drive("base.ext4", is_read_only=True),
            Drive("root.x", "qcow2", options={"qemu": {"discard": "unmap"}}),
        ),
        refusals={"firecracker": "it does not know it"},
    ),
)


@pytest.mark.parametrize("one", [WEB, PLAIN, JOINED], ids=["all there is", "the least", "two drives"])
def test_a_machine_that_was_kept_in_plain_values_is_started_as_before(one: Machine) -> None:
    kept = machine.of_plain(marshal.loads(marshal.dumps(machine.plain(one))))  # noqa: S302  # our own
    assert one.boot is not None
    assert kept.boot == one.boot
    assert (kept.drives, kept.root.refusals) == (one.drives, one.root.refusals)
    assert machine.plain(kept) == machine.plain(one)


def test_one_that_nobody_can_start_is_not_kept() -> None:
    assert machine.plain(DISKS_ONLY) is None
