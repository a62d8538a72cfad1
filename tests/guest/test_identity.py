from __future__ import annotations

import re

from bangerbuild.guest.identity import fresh_identity
from bangerbuild.tree import GuestFile, GuestRemoval, GuestSymlink
from tests.guest.view import OPENRC, SYSTEMD, guest, written

UNIT = "/etc/systemd/system/bangerbuild-host-keys.service"
REMOVAL = GuestRemoval("/etc/ssh/ssh_host_*")
EMPTY_ID = GuestFile("/etc/machine-id", b"", mode=0o444)


def test_with_systemd_the_id_is_emptied_the_keys_go_and_a_unit_makes_new_ones() -> None:
    outcome = fresh_identity(guest(SYSTEMD))
    assert outcome.changes[:2] == (EMPTY_ID, REMOVAL)
    assert [change.path for change in outcome.changes[2:]] == [
        UNIT,
        "/etc/systemd/system/multi-user.target.wants/bangerbuild-host-keys.service",
    ]
    assert outcome.changes[3] == GuestSymlink(outcome.changes[3].path, UNIT)
    assert outcome.warnings == ()


def test_the_unit_makes_keys_before_ssh_and_only_where_there_is_none() -> None:
    lines = written(fresh_identity(guest(SYSTEMD)))[UNIT].decode().splitlines()
    assert "ExecStart=/usr/bin/ssh-keygen -A" in lines
    assert "ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key" in lines
    [before] = [line for line in lines if line.startswith("Before=")]
    assert {"ssh.service", "sshd.service"} <= set(re.split("[= ]", before))


def test_the_copy_of_the_id_that_dbus_keeps_becomes_a_link_to_the_emptied_one() -> None:
    outcome = fresh_identity(guest({**SYSTEMD, "/var/lib/dbus/machine-id": "0123\n"}))
    assert GuestSymlink("/var/lib/dbus/machine-id", "/etc/machine-id") in outcome.changes


def test_where_nobody_fills_in_the_empty_id_dbus_is_left_to_make_its_own() -> None:
    outcome = fresh_identity(guest({**OPENRC, "/var/lib/dbus/machine-id": "0123\n"}))
    assert GuestRemoval("/var/lib/dbus/machine-id") in outcome.changes


def test_an_image_that_knows_no_machine_id_gets_none() -> None:
    assert fresh_identity(guest(OPENRC)).changes == (REMOVAL,)


def test_an_id_is_emptied_whoever_wrote_it() -> None:
    assert fresh_identity(guest({"/etc/machine-id": "0123\n"})).changes == (EMPTY_ID, REMOVAL)


def test_an_sshd_that_nobody_makes_keys_for_is_a_warning() -> None:
    [warning] = fresh_identity(guest({"/usr/sbin/sshd": b""})).warnings
    assert "ssh-keygen -A" in warning


def test_openrc_makes_the_keys_itself_so_there_is_no_warning() -> None:
    assert fresh_identity(guest({**OPENRC, "/usr/sbin/sshd": b""})).warnings == ()


def test_without_an_sshd_there_is_no_warning() -> None:
    assert fresh_identity(guest()).warnings == ()
