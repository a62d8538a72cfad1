from __future__ import annotations

from bangerbuild.guest.network_managers.dhcpcd import Dhcpcd
from bangerbuild.tree import GuestFile, GuestSymlink
from tests.guest.network_managers.images import ETC, INTERFACE, MMDEBSTRAP, enabled, image
from tests.guest.view import OPENRC

CONFIG = "/etc/dhcpcd.conf"
OURS = b"# The address is set by bangerbuild.\ndenyinterfaces eth0 en*\n"


def test_dhcpcd_runs_where_it_or_an_instance_for_a_card_is_enabled() -> None:
    assert Dhcpcd().runs(image({**MMDEBSTRAP, **enabled("dhcpcd.service")}))
    assert Dhcpcd().runs(image({**MMDEBSTRAP, **enabled("dhcpcd@ens3.service")}))
    assert Dhcpcd().runs(image({**OPENRC, "/etc/runlevels/default/dhcpcd": b""}))
    assert not Dhcpcd().runs(image({**MMDEBSTRAP, **enabled("dhcpcd@wlan0.service"), CONFIG: b""}))


def test_the_line_stands_before_the_images_own() -> None:
    own = b"persistent\ninterface eth0\nstatic ip_address=10.0.0.5/24\n"
    files = {**MMDEBSTRAP, **enabled("dhcpcd.service"), CONFIG: own}
    assert Dhcpcd().changes(INTERFACE, image(files)).changes == (GuestFile(CONFIG, OURS + own),)


def test_without_a_file_of_the_image_there_is_one() -> None:
    files = {**MMDEBSTRAP, **enabled("dhcpcd.service")}
    assert Dhcpcd().changes(INTERFACE, image(files)).changes == (GuestFile(CONFIG, OURS),)


def test_an_instance_for_a_card_is_masked_and_others_are_not() -> None:
    files = {**MMDEBSTRAP, **enabled("dhcpcd@eth0.service", "dhcpcd@eth1.service")}
    assert Dhcpcd().changes(INTERFACE, image(files)).changes[1:] == (
        GuestSymlink(f"{ETC}/dhcpcd@eth0.service", "/dev/null"),
    )
