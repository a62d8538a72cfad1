from __future__ import annotations

import pytest

from bangerbuild.guest.sshd_access import refusals
from tests.guest.view import guest

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
        "Match User root\n  PermitRootLogin no",
        "Match all\nPubkeyAuthentication no",
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
