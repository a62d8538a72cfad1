from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from bangerbuild.guest.network_managers.ifupdown import Ifupdown
from bangerbuild.tree import GuestEdits, GuestFile
from tests.guest.network_managers.images import (
    ALPINE,
    BINARY,
    DEBIAN,
    INTERFACE,
    INTERFACES,
    MMDEBSTRAP,
    image,
)
from tests.guest.view import written

PATH = "/etc/network/interfaces"


@pytest.mark.parametrize("files", [DEBIAN, ALPINE], ids=["Debian", "Alpine"])
def test_ifupdown_runs_where_its_service_is_enabled(files: dict[str, bytes]) -> None:
    assert Ifupdown().runs(image(files))


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        ({"/sbin/ifup": BINARY}, False),
        ({"/sbin/ifup": BINARY, "/lib/udev/rules.d/80-ifupdown.rules": b""}, True),
        ({"/lib/udev/rules.d/80-ifupdown.rules": b""}, False),
    ],
)
def test_udev_starts_ifup_where_the_service_does_not(files: dict[str, bytes], *, runs: bool) -> None:
    assert Ifupdown().runs(image({**MMDEBSTRAP, PATH: INTERFACES.encode(), **files})) is runs


def test_the_stanzas_of_the_card_are_commented_out_and_the_rest_stays() -> None:
    after = written(Ifupdown().changes(INTERFACE, image(DEBIAN)))[PATH].decode()
    head, tail = INTERFACES.split("iface ens3 inet dhcp\n")
    assert after.startswith(f"{head}iface ens3 inet manual\n")
    assert "\n# iface ens3 inet dhcp\n" in after
    assert "\n# iface ens3 inet6 auto\n" in after
    kept = [line for line in after.splitlines() if line in tail.splitlines()]
    assert kept == [line for line in tail.splitlines() if not line.startswith("iface")]


def test_a_file_that_is_included_is_changed_alone_and_byte_for_byte() -> None:
    cloud = b"# caf\xe9\nauto eth0\niface eth0 inet dhcp\n"
    files = {**DEBIAN, PATH: b"source interfaces.d/*\n", "/etc/network/interfaces.d/50-cloud-init": cloud}
    [change] = Ifupdown().changes(INTERFACE, image(files)).changes
    assert isinstance(change, GuestFile)
    assert change.path == "/etc/network/interfaces.d/50-cloud-init"
    assert change.content.startswith(b"# caf\xe9\nauto eth0\niface eth0 inet manual\n")


TWO_CARDS = INTERFACES.encode() + b"iface ens4 inet dhcp\n"
HOOKS = "/etc/dhcp/dhclient-enter-hooks.d"


@pytest.mark.parametrize(
    ("text", "declares", "hooks", "written_too"),
    [
        (TWO_CARDS, True, {f"{HOOKS}/debug": b""}, {f"{HOOKS}/zzz-bangerbuild"}),
        (TWO_CARDS, False, {f"{HOOKS}/debug": b""}, set()),
        (TWO_CARDS, True, {}, set()),
        (INTERFACES.encode(), True, {f"{HOOKS}/debug": b""}, set()),
    ],
    ids=["further card", "nothing declared", "no dhclient", "one card"],
)
def test_a_lease_of_a_further_card_does_not_change_a_declared_resolv_conf(
    text: bytes, *, declares: bool, hooks: dict[str, bytes], written_too: set[str]
) -> None:
    interface = replace(INTERFACE, declares_resolv_conf=declares)
    outcome = Ifupdown().changes(interface, image({**DEBIAN, PATH: text, **hooks}))
    assert set(written(outcome)) == {PATH} | written_too


def test_dhclient_calls_the_function_that_the_last_hook_defines() -> None:
    interface = replace(INTERFACE, declares_resolv_conf=True)
    files = {**DEBIAN, PATH: TWO_CARDS, f"{HOOKS}/resolved": b""}
    hook = written(Ifupdown().changes(interface, image(files)))[f"{HOOKS}/zzz-bangerbuild"].decode()
    script = f"make_resolv_conf() {{ echo written; }}\n{hook}make_resolv_conf && echo left\n"
    assert subprocess.check_output(["/bin/sh", "-c", script], text=True) == "left\n"


@pytest.mark.parametrize("text", [b"auto lo\niface lo inet loopback\n", b"source interfaces.d/*\n", None])
def test_an_image_whose_interfaces_name_no_card_gets_nothing(text: bytes | None) -> None:
    files = {path: content for path, content in DEBIAN.items() if path != PATH}
    given = {} if text is None else {PATH: text}
    assert Ifupdown().changes(INTERFACE, image({**files, **given})) == GuestEdits()


def test_a_bridge_that_takes_the_card_is_warned_of_and_stays() -> None:
    bridge = b"auto br0\niface br0 inet dhcp\n    bridge_ports ens3\n"
    outcome = Ifupdown().changes(INTERFACE, image({**DEBIAN, PATH: bridge}))
    [warning] = outcome.warnings
    assert warning.startswith(f"'br0' in {PATH} of the image takes the card that gets the address")
    assert outcome.changes == ()


def test_a_master_of_a_stanza_that_is_commented_out_is_not_warned_of() -> None:
    text = b"auto eth0\niface eth0 inet dhcp\n    bond-master bond0\n"
    assert Ifupdown().changes(INTERFACE, image({**DEBIAN, PATH: text})).warnings == ()
