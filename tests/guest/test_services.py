from __future__ import annotations

import pytest

from bangerbuild.guest.services import services
from tests.guest.network_managers.images import BINARY, ETC, UNITS, enabled
from tests.guest.view import OPENRC, SYSTEMD, guest

UNIT = "systemd-networkd.service"
PRESETS = "/usr/lib/systemd/system-preset"


def starts(files: dict[str, bytes]) -> bool:
    return services(guest({**SYSTEMD, **files}), keeps_machine_id=True).starts("systemd-networkd")


MACHINE_ID = {"/etc/machine-id": b"0123456789abcdef0123456789abcdef\n"}


@pytest.mark.parametrize(
    "link",
    [
        f"{ETC}/multi-user.target.wants/{UNIT}",
        f"{ETC}/network-online.target.requires/{UNIT}",
        f"{UNITS}/multi-user.target.wants/{UNIT}",
        f"/lib/systemd/system/multi-user.target.wants/{UNIT}",
        f"{ETC}/sockets.target.wants/systemd-networkd.socket",
    ],
)
def test_a_link_in_a_target_of_the_boot_starts_a_unit(link: str) -> None:
    assert starts({**MACHINE_ID, link: b""})


def test_what_the_target_of_the_boot_pulls_in_is_started() -> None:
    files = {
        f"{UNITS}/kiosk.target": b"[Unit]\nRequires=multi-user.target\n",
        **enabled(UNIT, target="kiosk.target"),
    }
    view = guest({**SYSTEMD, **MACHINE_ID, **files}, {f"{ETC}/default.target": f"{UNITS}/kiosk.target"})
    assert services(view, keeps_machine_id=True).starts("systemd-networkd")
    assert not starts({**MACHINE_ID, **files})


@pytest.mark.parametrize("target", ["rescue.target", "initrd.target", "poweroff.target"])
def test_a_link_in_a_target_that_a_boot_does_not_reach_starts_nothing(target: str) -> None:
    assert not starts({**MACHINE_ID, **enabled(UNIT, target=target)})


def test_a_unit_that_is_only_there_is_not_started() -> None:
    assert not starts({**MACHINE_ID, f"{UNITS}/{UNIT}": b"[Unit]\n"})


@pytest.mark.parametrize("target", ["/dev/null", "../../../dev/null"])
def test_a_unit_that_is_masked_by_a_link_is_not_started(target: str) -> None:
    view = guest(
        {**SYSTEMD, **MACHINE_ID, f"{ETC}/multi-user.target.wants/{UNIT}": b""}, {f"{ETC}/{UNIT}": target}
    )
    assert not services(view, keeps_machine_id=True).starts("systemd-networkd")


def test_a_unit_that_is_masked_by_an_empty_file_is_not_started() -> None:
    assert not starts({**MACHINE_ID, **enabled(UNIT), f"{ETC}/{UNIT}": b""})


def test_a_unit_of_the_administrator_hides_a_mask_of_the_distribution() -> None:
    masked = {**MACHINE_ID, **enabled(UNIT), f"{UNITS}/{UNIT}": b""}
    assert not starts(masked)
    assert starts({**masked, f"{ETC}/{UNIT}": b"[Unit]\n"})


@pytest.mark.parametrize("machine_id", [{}, {"/etc/machine-id": b"uninitialized\n"}])
@pytest.mark.parametrize(
    ("presets", "started"),
    [
        ({}, True),
        ({"90-systemd.preset": b"enable systemd-networkd.service\n"}, True),
        ({"90-systemd.preset": b"enable systemd-*\n", "50-ours.preset": b"disable *\n"}, False),
        ({"90-a.preset": b"# enable *\n\ndisable systemd-networkd.service\nenable *\n"}, False),
    ],
)
def test_a_first_boot_starts_what_presets_enable(
    machine_id: dict[str, bytes], presets: dict[str, bytes], *, started: bool
) -> None:
    files = {f"{PRESETS}/{name}": text for name, text in presets.items()}
    assert starts({f"{UNITS}/{UNIT}": b"[Unit]\n", **machine_id, **files}) is started


def test_a_preset_of_the_administrator_hides_one_of_the_same_name() -> None:
    distribution = {f"{PRESETS}/90-a.preset": b"enable *\n", f"{UNITS}/{UNIT}": b"[Unit]\n"}
    assert not starts({**distribution, "/etc/systemd/system-preset/90-a.preset": b"disable *\n"})


def test_presets_enable_only_what_is_there_and_only_at_a_first_boot() -> None:
    files = {f"{PRESETS}/90-systemd.preset": b"enable *\n"}
    assert not starts(files)
    assert not starts({**files, **MACHINE_ID, f"{UNITS}/{UNIT}": b"[Unit]\n"})


def test_a_root_whose_machine_id_is_emptied_has_no_first_boot() -> None:
    view = guest({**SYSTEMD, f"{UNITS}/{UNIT}": b"[Unit]\n"})
    assert not services(view, keeps_machine_id=False).starts("systemd-networkd")


def test_instances_of_a_unit_are_named_unless_they_are_masked() -> None:
    wanted = enabled("dhcpcd@eth0.service", "dhcpcd@eth1.service", "dhcpcd.service", "dhcpcd@.service")
    view = guest({**SYSTEMD, **wanted}, {f"{ETC}/dhcpcd@eth1.service": "/dev/null"})
    assert services(view, keeps_machine_id=False).matching("dhcpcd@?*") == ("dhcpcd@eth0",)


@pytest.mark.parametrize(("runlevel", "started"), [("boot", True), ("default", True), ("nonetwork", False)])
def test_openrc_starts_what_is_in_a_runlevel_of_the_boot(runlevel: str, *, started: bool) -> None:
    view = guest({**OPENRC, f"/etc/runlevels/{runlevel}/networking": b""})
    found = services(view, keeps_machine_id=True)
    assert found.starts("networking") is started
    assert found.matching("net*") == (("networking",) if started else ())


def test_without_a_known_init_nothing_is_started() -> None:
    view = guest({"/sbin/init": BINARY, "/etc/runlevels/boot/networking": b"", **enabled(UNIT)})
    found = services(view, keeps_machine_id=True)
    assert (found.starts("networking"), found.starts("systemd-networkd")) == (False, False)
    assert found.matching("*") == ()


@pytest.mark.parametrize(
    ("files", "started"),
    [
        ({"/etc/rc.d/rc3.d/S10network": b""}, True),
        ({"/etc/rc2.d/S01network": b""}, True),
        ({"/etc/rc.d/rc3.d/K90network": b""}, False),
        ({"/etc/rc.d/rc6.d/S00network": b""}, False),
        ({"/etc/rc3.d/S10network": b"", f"{UNITS}/network.service": b"[Unit]\n"}, False),
        ({"/etc/rc3.d/S10network": b"", f"{ETC}/network.service": b""}, False),
    ],
)
def test_systemd_starts_an_initscript_that_has_no_unit(files: dict[str, bytes], *, started: bool) -> None:
    found = services(guest({**SYSTEMD, **MACHINE_ID, **files}), keeps_machine_id=True)
    assert found.starts("network") is started
