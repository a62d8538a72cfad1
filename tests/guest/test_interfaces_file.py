"""Judged by ifup of busybox, which says in a dry run what it would do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import GuestPathError
from bangerbuild.guest.interfaces_file import (
    MARK,
    PATH,
    configures_cards,
    files,
    stanzas,
    takers,
    with_manual,
)
from tests.guest.network_managers.images import ALPINE_INTERFACES, INTERFACES
from tests.guest.view import DictView, guest
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

MAC = "06:00:ac:10:00:0a"
TWO_CARDS = """\
auto lo eth0 eth1
iface lo inet loopback
iface eth0 inet static
\taddress 10.0.0.5/24
\tgateway 10.0.0.1
iface eth1 inet dhcp
"""


def changed(text: str, mac: str = MAC) -> str:
    return with_manual({PATH: text}, mac)[PATH]


def dry_run(text: str, tmp_path: Path) -> list[str]:
    """What busybox would run for `ifup -a`, but for hooks."""
    file = tmp_path / "interfaces"
    file.write_text(text)
    command = [need("busybox"), "ifup", "-n", "-a", "-i", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("run-parts")]


LOOPBACK = ["ip addr add 127.0.0.1/8 dev lo", "ip link set lo up"]


@pytest.mark.parametrize("text", [ALPINE_INTERFACES, INTERFACES.replace("source", "#")])
def test_the_only_card_is_left_alone_and_ifup_still_succeeds(text: str, tmp_path: Path) -> None:
    assert dry_run(changed(text), tmp_path) == LOOPBACK


def test_the_stanza_becomes_a_comment_and_every_other_line_stays() -> None:
    assert changed(ALPINE_INTERFACES) == (
        "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet manual\n"
        f"{MARK}# iface eth0 inet dhcp\n# \thostname alpine\n"
    )


def test_a_second_card_stays_with_ifupdown(tmp_path: Path) -> None:
    lines = dry_run(changed(TWO_CARDS), tmp_path)
    assert [line for line in lines if "eth0" in line or "10.0.0" in line] == []
    assert any("udhcpc" in line and "eth1" in line for line in lines)


def test_all_stanzas_of_the_card_go_for_ipv6_and_second_addresses_too(tmp_path: Path) -> None:
    text = (
        "auto lo\niface lo inet loopback\nauto eth0 eth0:1\niface eth0 inet dhcp\niface eth0 inet6 auto\n"
        "iface eth0:1 inet static\n  address 10.0.0.6/24\n"
    )
    assert dry_run(changed(text), tmp_path) == LOOPBACK
    assert changed(text).count("\niface eth0 inet manual\n") == 1


@pytest.mark.parametrize(
    ("names", "gone"),
    [
        ("eth1 eth0 eth10", {"eth0"}),
        ("eth0 ens3", {"eth0", "ens3"}),
        ("enp0s8 enp0s3", {"enp0s3"}),
        ("eno1 enp10s0 enp9s0", {"eno1", "enp9s0"}),
        ("enx0600ac10000a enx0600ac10000b", {"enx0600ac10000a"}),
        ("br0 wlan0 eth0.5 bond0 tun0", set()),
    ],
)
def test_the_card_is_the_first_name_of_each_scheme(names: str, gone: set[str]) -> None:
    text = changed("".join(f"iface {name} inet dhcp\n" for name in names.split()))
    assert {name for name in names.split() if f"\niface {name} inet dhcp" not in f"\n{text}"} == gone


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "source /etc/network/interfaces.d/*\n",
        "auto lo\niface lo inet loopback\n",
        "auto eth0\niface eth0 inet manual\n    up ip link set eth0 promisc on\n",
        "auto eth0\n",
        "iface\n",
        "auto br0\niface br0 inet dhcp\n  bridge_ports eth0\niface eth0 inet manual\n",
    ],
)
def test_a_file_that_gives_the_card_no_address_stays_as_it_is(text: str) -> None:
    assert changed(text) == text


def test_a_stanza_without_a_method_goes_as_ifupdown_ng_has_it() -> None:
    assert "# iface eth0\n#   use dhcp\n" in changed("auto eth0\niface eth0\n  use dhcp\n")


def test_a_logical_interface_of_the_card_goes(tmp_path: Path) -> None:
    assert "# iface home inet dhcp\n" in changed("auto eth0=home\niface home inet dhcp\n")
    assert "# iface any inet dhcp\n" in changed("auto /en*=any\niface any inet dhcp\n")
    assert (
        changed("auto eth0=home eth1=x\niface x inet dhcp\n") == "auto eth0=home eth1=x\niface x inet dhcp\n"
    )


def test_a_mapping_of_the_card_goes_and_its_name_has_a_stanza() -> None:
    text = "auto eth0\nmapping eth0\n  script /bin/where\niface home inet dhcp\n"
    assert changed(text) == (
        f"auto eth0\niface eth0 inet manual\n{MARK}# mapping eth0\n#   script /bin/where\n"
        "iface home inet dhcp\n"
    )


def test_lines_that_a_backslash_joins_go_together_and_a_comment_joins_nothing() -> None:
    text = "# not joined \\\niface eth0 inet \\\n  dhcp\n  up echo \\\n  iface lo\niface lo inet loopback"
    assert changed(text) == (
        "# not joined \\\niface eth0 inet manual\n"
        f"{MARK}# iface eth0 inet \\\n#   dhcp\n#   up echo \\\n#   iface lo\niface lo inet loopback"
    )


def test_of_several_files_each_is_changed_and_the_name_has_one_stanza() -> None:
    texts = {PATH: "iface eth0 inet dhcp\n", "/etc/network/interfaces.d/a": "iface eth0 inet6 auto\n"}
    after = with_manual(texts, MAC)
    assert "".join(after.values()).count("iface eth0 inet manual\n") == 1
    assert all("# iface eth0 inet" in text for text in after.values())


def test_what_is_included_is_found_by_wildcards_and_by_directory() -> None:
    view = guest(
        {
            PATH: "source interfaces.d/*.cfg\nsource-directory /etc/more\nsource /nowhere/*\n",
            "/etc/network/interfaces.d/50-cloud-init.cfg": "source /etc/deep\n",
            "/etc/network/interfaces.d/.hidden.cfg": "",
            "/etc/network/interfaces.d/other": "",
            "/etc/more/eth0": "",
            "/etc/deep": f"source {PATH}\n",
        }
    )
    assert list(files(view)) == [
        PATH,
        "/etc/network/interfaces.d/50-cloud-init.cfg",
        "/etc/more/eth0",
        "/etc/deep",
    ]


def test_a_directory_among_the_included_is_passed_over() -> None:
    broken = {"/etc/network/interfaces.d/old": GuestPathError("'old' is no regular file")}
    view = DictView({PATH: b"source /etc/network/interfaces.d/*\n"}, broken=broken)
    assert list(files(view)) == [PATH]


def test_without_the_file_there_is_nothing_to_read() -> None:
    assert files(guest({"/etc/network/interfaces.d/eth0": "iface eth0 inet dhcp\n"})) == {}


@pytest.mark.parametrize(
    ("text", "above"),
    [
        ("iface br0 inet dhcp\n  bridge_ports eth0\n", ("br0",)),
        ("iface br0 inet dhcp\n  bridge-ports eth0 eth1\n  bridge_stp off\n", ("br0",)),
        ("iface br0 inet dhcp\n  bridge_ports \\\n  ens3\niface ens3 inet manual\n", ("br0",)),
        ("iface br0 inet dhcp\n  bridge_ports all\n", ("br0",)),
        ("iface br0 inet dhcp\n  bridge_ports none\n", ()),
        ("iface br0 inet dhcp\n  bridge_ports eth1\niface eth0 inet dhcp\n", ()),
        ("iface br0 inet dhcp\n  # bridge_ports eth0\n", ()),
        ("iface bond0 inet dhcp\n  bond-slaves eth0 eth1\n", ("bond0",)),
        (
            "iface bond0 inet dhcp\n  bond-slaves none\niface eth0 inet manual\n  bond-master bond0\n",
            ("bond0",),
        ),
        ("iface eth1 inet manual\n  bond-master bond0\niface eth0 inet dhcp\n", ()),
        ("iface b inet manual\n  bond_slaves eth0\niface a inet dhcp\n  bridge_ports b eth0\n", ("a", "b")),
        ("iface eth0 inet dhcp\n", ()),
    ],
)
def test_bridges_and_bonds_that_take_the_card_are_named(text: str, above: tuple[str, ...]) -> None:
    assert takers([text], MAC) == above


def test_a_bridge_is_seen_in_another_file_than_its_card() -> None:
    assert takers(["iface eth0 inet manual\n", "iface br0 inet dhcp\n bridge_ports eth0\n"], MAC) == ("br0",)


@pytest.mark.parametrize(
    ("text", "does"),
    [
        ("iface eth0 inet dhcp\n", True),
        ("iface eth0\n", True),
        ("iface lo inet loopback\niface lo inet static\niface eth0 inet manual\nauto eth0\n", False),
    ],
)
def test_a_file_configures_cards_if_one_is_given_an_address(text: str, *, does: bool) -> None:
    assert configures_cards([text]) is does


LINES = st.sampled_from(
    [
        *TWO_CARDS.splitlines(),
        *INTERFACES.splitlines(),
        "mapping eth0",
        "iface eth0 inet \\",
        " up x \\",
        "",
        "\xff",
    ]
)


@given(st.lists(LINES).map("\n".join))
def test_stanzas_are_the_file_and_a_second_change_is_none(text: str) -> None:
    assert "".join(line for stanza in stanzas(text) for line in stanza.lines) == text
    once = with_manual({PATH: text}, MAC)
    assert with_manual(once, MAC) == once
