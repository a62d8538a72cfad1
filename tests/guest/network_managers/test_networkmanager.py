from __future__ import annotations

from configparser import ConfigParser
from dataclasses import replace

import pytest

from bangerbuild.guest.network_managers.networkmanager import NetworkManagerDaemon
from tests.guest.network_managers.images import ALPINE, BINARY, FEDORA, INTERFACE, MMDEBSTRAP, image
from tests.guest.view import written

PATH = "/etc/NetworkManager/conf.d/99-bangerbuild.conf"


@pytest.mark.parametrize(
    "files", [FEDORA, {**ALPINE, "/etc/runlevels/default/networkmanager": BINARY}], ids=["systemd", "OpenRC"]
)
def test_networkmanager_runs_where_it_is_enabled(files: dict[str, bytes]) -> None:
    assert NetworkManagerDaemon().runs(image(files))


def test_networkmanager_that_is_only_installed_does_not_run() -> None:
    installed = {"/usr/lib/systemd/system/NetworkManager.service": b"[Unit]\n"}
    assert not NetworkManagerDaemon().runs(image({**MMDEBSTRAP, **installed}))


def test_the_interface_is_left_alone_by_its_mac_in_both_ways() -> None:
    config = ConfigParser()
    config.read_string(written(NetworkManagerDaemon().changes(INTERFACE, image(FEDORA)))[PATH].decode())
    assert {name: dict(config[name]) for name in config.sections()} == {
        "keyfile": {"unmanaged-devices+": "mac:06:00:ac:10:00:0a"},
        "device-bangerbuild": {"match-device": "mac:06:00:ac:10:00:0a", "managed": "0"},
    }


def test_a_declared_resolv_conf_is_not_overwritten() -> None:
    interface = replace(INTERFACE, declares_resolv_conf=True)
    text = written(NetworkManagerDaemon().changes(interface, image(FEDORA)))[PATH].decode()
    assert text.endswith("\n[main]\nrc-manager=unmanaged\n")


def test_the_file_sorts_after_a_late_file_of_the_image() -> None:
    files = {**FEDORA, "/etc/NetworkManager/conf.d/99-unmanaged.conf": b"[keyfile]\nunmanaged-devices=none\n"}
    [path] = written(NetworkManagerDaemon().changes(INTERFACE, image(files)))
    assert path == "/etc/NetworkManager/conf.d/zzz-bangerbuild.conf"
