from __future__ import annotations

import pytest

from bangerbuild.guest.network_managers.netplan import Netplan
from bangerbuild.guest.network_managers.networkd import Networkd
from tests.guest.network_managers.images import DEBIAN_CLOUD, INTERFACE, image


def test_netplan_starts_networkd_where_nothing_else_does() -> None:
    assert Netplan().runs(image(DEBIAN_CLOUD))
    assert not Networkd().runs(image(DEBIAN_CLOUD))


@pytest.mark.parametrize(
    "missing", ["/usr/lib/systemd/system-generators/netplan", "/etc/netplan/90-default.yaml"]
)
def test_netplan_without_its_generator_or_without_a_file_does_nothing(missing: str) -> None:
    files = {path: content for path, content in DEBIAN_CLOUD.items() if path != missing}
    assert not Netplan().runs(image(files))
    assert not Netplan().runs(image({**files, f"{missing}.save": b""}))


def test_what_netplan_starts_is_given_the_address() -> None:
    guest = image(DEBIAN_CLOUD)
    assert Netplan().changes(INTERFACE, guest) == Networkd().changes(INTERFACE, guest)
