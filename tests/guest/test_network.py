from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.declared import Network
from bangerbuild.guest.identity import fresh_identity
from bangerbuild.guest.network import agreement, bootstrap, shell_quoted
from bangerbuild.tree import GuestEdits, GuestFile, GuestSymlink
from tests.guest.network_managers import images
from tests.guest.network_managers.images import image
from tests.guest.view import OPENRC, SYSTEMD, guest, written

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORK = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", ("1.1.1.1",), "06:00:ac:10:00:0a", "tap-web")
SCRIPT = "/usr/local/sbin/bangerbuild-network"
UNIT = "/etc/systemd/system/bangerbuild-network.service"


def test_with_systemd_there_are_settings_script_unit_and_the_unit_is_enabled() -> None:
    outcome = bootstrap(NETWORK, guest(SYSTEMD))
    assert [change.path for change in outcome.changes[:3]] == ["/etc/bangerbuild/network.conf", SCRIPT, UNIT]
    assert outcome.changes[3] == GuestSymlink(
        "/etc/systemd/system/multi-user.target.wants/bangerbuild-network.service", UNIT
    )
    assert outcome.warnings == ()


def test_the_script_may_be_executed() -> None:
    modes = {c.path: c.mode for c in bootstrap(NETWORK, guest(OPENRC)).changes if isinstance(c, GuestFile)}
    assert modes == {
        "/etc/bangerbuild/network.conf": 0o644,
        SCRIPT: 0o755,
        "/etc/init.d/bangerbuild-network": 0o755,
    }


def test_the_settings_are_lines_of_shell() -> None:
    assert written(bootstrap(NETWORK, guest()))["/etc/bangerbuild/network.conf"] == (
        b"# Read by /usr/local/sbin/bangerbuild-network.\n"
        b"MAC='06:00:ac:10:00:0a'\nADDRESS='172.16.0.10/24'\nGATEWAY='172.16.0.1'\n"
    )


def test_without_a_gateway_its_setting_is_empty() -> None:
    network = Network("bootstrap", "10.0.0.1/8", mac="06:00:0a:00:00:01")
    assert b"\nGATEWAY=''\n" in written(bootstrap(network, guest()))["/etc/bangerbuild/network.conf"]


def test_with_openrc_a_start_script_stands_in_the_default_runlevel() -> None:
    outcome = bootstrap(NETWORK, guest(OPENRC))
    assert outcome.changes[-1] == GuestSymlink(
        "/etc/runlevels/default/bangerbuild-network", "/etc/init.d/bangerbuild-network"
    )
    assert written(outcome)["/etc/init.d/bangerbuild-network"].startswith(b"#!/sbin/openrc-run\n")
    assert outcome.warnings == ()


def test_with_systemd_and_openrc_systemd_it_is() -> None:
    assert UNIT in written(bootstrap(NETWORK, guest({**OPENRC, **SYSTEMD})))


def test_without_an_init_we_know_the_script_is_there_and_a_warning_says_to_call_it() -> None:
    outcome = bootstrap(NETWORK, guest())
    assert [change.path for change in outcome.changes] == ["/etc/bangerbuild/network.conf", SCRIPT]
    [warning] = outcome.warnings
    assert SCRIPT in warning


@pytest.mark.parametrize("mode", ["cmdline", "none"])
def test_the_other_modes_write_nothing(mode: Literal["cmdline", "none"]) -> None:
    assert bootstrap(Network(mode, "10.0.0.1/8"), guest(SYSTEMD)) == GuestEdits()


@pytest.mark.parametrize("mode", ["bootstrap", "cmdline"])
def test_the_images_network_managers_are_told_where_the_script_or_the_kernel_sets_the_address(
    mode: Literal["bootstrap", "cmdline"],
) -> None:
    outcome = agreement(replace(NETWORK, mode=mode), image(images.ARCH), declares_resolv_conf=False)
    assert [change.path for change in outcome.changes] == ["/etc/systemd/network/00-bangerbuild.network"]


@pytest.mark.parametrize("network", [replace(NETWORK, mode="none"), Network(dns=("1.1.1.1",))])
def test_without_an_address_of_ours_the_images_network_managers_are_left_alone(network: Network) -> None:
    assert agreement(network, image(images.ARCH), declares_resolv_conf=True) == GuestEdits()


def test_without_an_address_nothing_is_written() -> None:
    assert bootstrap(Network("bootstrap"), guest(SYSTEMD)) == GuestEdits()


def test_systemd_finds_nothing_wrong_with_our_units(tool: Callable[[str], str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = {**written(bootstrap(NETWORK, guest(SYSTEMD))), **written(fresh_identity(guest(SYSTEMD)))}
    programs = dict.fromkeys(("/usr/bin/ssh-keygen", "/bin/sh", SCRIPT), b"#!/bin/sh\n")
    for path, content in {**files, **programs}.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755 if path in programs else 0o644)
    units = [Path(path).name for path in files if path.endswith(".service")]
    command = [
        tool("systemd-analyze"),
        "verify",
        "--man=no",
        "--recursive-errors=no",
        f"--root={root}",
        *units,
    ]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert len(units) == 2
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=5))
def test_the_shell_reads_back_what_was_quoted(texts: list[str]) -> None:
    script = "printf '%s\\0' " + " ".join(map(shell_quoted, texts))
    printed = subprocess.check_output(["/bin/sh", "-c", script])
    assert printed == b"".join(text.encode() + b"\0" for text in texts)
