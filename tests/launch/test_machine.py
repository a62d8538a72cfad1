from __future__ import annotations

from bangerbuild.declared import Network
from bangerbuild.launch.machine import Card, card


def test_the_card_is_as_declared() -> None:
    network = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", (), "06:00:ac:10:00:0a", "tap-web")
    assert card("web", network) == Card("06:00:ac:10:00:0a", "tap-web", "172.16.0.10/24", "172.16.0.1")


def test_a_card_without_a_declared_address_has_a_mac_of_the_vms_own() -> None:
    macs = {name: card(name, Network(tap="tap0")).mac for name in ("web", "db")}
    assert macs == {"web": "06:01:4b:5e:57:f6", "db": "06:01:7b:dc:25:d1"}
