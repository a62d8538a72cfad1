from __future__ import annotations

import pytest

from bangerbuild.declared import VM, InlineFile
from bangerbuild.guest.defaults import changes
from bangerbuild.guest.sshd_access import refusals, unheard_ports
from tests.guest.view import SYSTEMD, guest

GROUP = "root:x:0:\nwheel:x:10:root,dev\nssh:x:11:dev\n"


def warnings(config: str) -> list[str]:
    return list(refusals(guest({"/etc/ssh/sshd_config": config, "/etc/group": GROUP})))


@pytest.mark.parametrize(
    "config",
    [
        "AllowUsers dev admin",
        "AllowUsers dev\nAllowUsers admin@10.0.0.*",
        "DenyUsers root",
        "DenyUsers dev *",
        "AllowGroups ssh",
        "DenyGroups wheel",
        "AuthenticationMethods publickey,password",
        "AuthenticationMethods password publickey,keyboard-interactive",
        "AllowUsers root\nMatch User root\nAllowUsers dev",
    ],
)
def test_a_setting_that_keeps_root_out_is_a_warning_that_names_it(config: str) -> None:
    [warning] = warnings(config)
    keyword = config.splitlines()[-1].split(maxsplit=1)[0]
    assert f"'{keyword} " in warning
    assert "ssh_authorized_keys" in warning


@pytest.mark.parametrize(
    "config",
    [
        "",
        "AllowUsers dev\nAllowUsers root",
        "AllowUsers root@10.0.0.*",
        "DenyUsers root@10.0.0.*",
        "AllowGroups wheel",
        "AllowGroups root",
        "DenyGroups ssh",
        "AuthenticationMethods any",
        "AuthenticationMethods publickey",
        "AuthenticationMethods password publickey",
        "AuthenticationMethods publickey\nAuthenticationMethods password",
        "PermitRootLogin no\nPubkeyAuthentication no",  # the drop-in comes first
        "Match User git\nPermitRootLogin no",
        "Match User root\nPermitRootLogin yes",
        "AllowUsers dev\nMatch User root\nAllowUsers root",
        "AllowUsers",
    ],
)
def test_a_setting_that_lets_root_in_by_some_key_is_none(config: str) -> None:
    assert warnings(config) == []


SOCKET = "/etc/systemd/system/sockets.target.wants/ssh.socket"
GENERATOR = "/usr/lib/systemd/system-generators/sshd-socket-generator"
DROP_IN = "/etc/ssh/sshd_config.d/10-port.conf"


@pytest.mark.parametrize("setting", ["Port 2222\n", "listenaddress=10.0.0.1\n"])
def test_a_port_that_is_declared_where_a_socket_unit_listens_is_a_warning(setting: str) -> None:
    vm = VM("web", "debian", "web", files=(InlineFile(DROP_IN, setting),))
    [warning] = changes(vm, guest({**SYSTEMD, SOCKET: ""})).warnings
    assert f"'{DROP_IN}'" in warning
    assert "ssh.socket.d" in warning


@pytest.mark.parametrize(
    ("there", "path", "content"),
    [
        ((), DROP_IN, b"Port 2222\n"),  # sshd listens itself
        ((SOCKET, GENERATOR), DROP_IN, b"Port 2222\n"),
        ((SOCKET,), DROP_IN, b"#Port 2222\nMaxSessions 2\n"),
        ((SOCKET,), "/etc/app/port.conf", b"Port 2222\n"),
    ],
)
def test_a_port_that_is_heard_is_no_warning(there: tuple[str, ...], path: str, content: bytes) -> None:
    assert list(unheard_ports(guest(dict.fromkeys(there, "")), [(path, content)])) == []
