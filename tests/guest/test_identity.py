from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.identity import LEFTOVERS, fresh_identity
from bangerbuild.tree import GuestFile, GuestRemoval, GuestSymlink
from tests.guest.view import OPENRC, SYSTEMD, guest, written

if TYPE_CHECKING:
    from pathlib import Path

UNIT = "/etc/systemd/system/bangerbuild-host-keys.service"
REMOVAL = GuestRemoval("/etc/ssh/ssh_host_*")
GONE = tuple(map(GuestRemoval, LEFTOVERS))
EMPTY_ID = GuestFile("/etc/machine-id", b"", mode=0o444)


def test_with_systemd_the_id_is_emptied_the_keys_go_and_a_unit_makes_new_ones() -> None:
    outcome = fresh_identity(guest(SYSTEMD))
    *others, unit, link = outcome.changes
    assert others == [EMPTY_ID, *GONE, REMOVAL]
    assert [unit.path, link.path] == [
        UNIT,
        "/etc/systemd/system/multi-user.target.wants/bangerbuild-host-keys.service",
    ]
    assert link == GuestSymlink(link.path, UNIT)
    assert outcome.warnings == ()


def test_the_unit_comes_before_all_that_starts_sshd_and_after_nothing_that_they_come_before() -> None:
    lines = written(fresh_identity(guest(SYSTEMD)))[UNIT].decode().splitlines()
    before = {name for line in lines if line.startswith("Before=") for name in line[7:].split()}
    assert {"ssh.service", "sshd.service", "ssh.socket", "sshd.socket"} <= before
    assert "DefaultDependencies=no" in lines
    assert [line for line in lines if line.startswith("After=")] == ["After=local-fs.target"]


@pytest.mark.parametrize(
    ("there", "runs"),
    [
        ({}, True),
        ({"ssh_host_rsa_key": "", "ssh_host_rsa_key.pub": "x"}, True),  # a machine that was cut off
        ({"ssh_host_ed25519_key": "x"}, False),
        ({"ssh_host_a_key": "", "ssh_host_rsa_key": "x"}, False),
    ],
)
def test_the_unit_makes_keys_only_where_there_is_none(
    there: dict[str, str], *, runs: bool, tmp_path: Path
) -> None:
    unit = written(fresh_identity(guest(SYSTEMD)))[UNIT].decode().replace("\\\n", " ")
    [start] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    shell, _, script = shlex.split(start.replace("$$", "$"))
    for name, content in there.items():
        (tmp_path / name).write_text(content)
    script = script.replace("/etc/ssh/", f"{tmp_path}/").replace("/usr/bin/ssh-keygen", "echo ssh-keygen")
    ran = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout
    assert ran == ("ssh-keygen -A\n" if runs else "")


def test_a_seed_of_cloud_init_is_removed_with_a_warning() -> None:
    seed = {f"/var/lib/cloud/seed/nocloud-net/{name}": "" for name in ("meta-data", "user-data")}
    outcome = fresh_identity(guest({**SYSTEMD, **seed}))
    [warning] = outcome.warnings
    assert "'/var/lib/cloud/seed/nocloud-net'" in warning
    assert GuestRemoval("/var/lib/cloud/seed/nocloud*") in outcome.changes


def test_the_copy_of_the_id_that_dbus_keeps_becomes_a_link_to_the_emptied_one() -> None:
    outcome = fresh_identity(guest({**SYSTEMD, "/var/lib/dbus/machine-id": "0123\n"}))
    assert GuestSymlink("/var/lib/dbus/machine-id", "/etc/machine-id") in outcome.changes


def test_where_nobody_fills_in_the_empty_id_dbus_is_left_to_make_its_own() -> None:
    outcome = fresh_identity(guest({**OPENRC, "/var/lib/dbus/machine-id": "0123\n"}))
    assert GuestRemoval("/var/lib/dbus/machine-id") in outcome.changes


def test_an_image_that_knows_no_machine_id_gets_none() -> None:
    assert fresh_identity(guest(OPENRC)).changes == (*GONE, REMOVAL)


def test_an_id_is_emptied_whoever_wrote_it() -> None:
    assert fresh_identity(guest({"/etc/machine-id": "0123\n"})).changes == (EMPTY_ID, *GONE, REMOVAL)


def test_an_sshd_that_nobody_makes_keys_for_is_a_warning() -> None:
    [warning] = fresh_identity(guest({"/usr/sbin/sshd": b""})).warnings
    assert "ssh-keygen -A" in warning


def test_an_sshd_of_openrc_that_makes_its_keys_itself_needs_no_script() -> None:
    alpine = {**OPENRC, "/etc/init.d/sshd": b"checkconfig() { ssh-keygen -A; }\n"}
    outcome = fresh_identity(guest(alpine))
    assert (outcome.changes, outcome.warnings) == ((*GONE, REMOVAL), ())


def test_an_sshd_of_openrc_that_makes_none_gets_a_script_before_it() -> None:
    outcome = fresh_identity(guest({**OPENRC, "/etc/init.d/ssh": b"sshd\n"}))
    path = "/etc/init.d/bangerbuild-host-keys"
    [script] = [one for one in outcome.changes if isinstance(one, GuestFile)]
    assert (script.path, script.mode) == (path, 0o755)
    assert GuestSymlink("/etc/runlevels/default/bangerbuild-host-keys", path) in outcome.changes
    assert outcome.warnings == ()


def test_without_an_sshd_there_is_no_warning() -> None:
    assert fresh_identity(guest()).warnings == ()
