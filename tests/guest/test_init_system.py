"""The init system that a guest has, and units that are started as `systemctl enable` would have it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.init_system import InitSystem, enabled_unit, init_system
from bangerbuild.tree import GuestFile, GuestSymlink
from tests.guest.view import OPENRC, SYSTEMD, guest
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (SYSTEMD, InitSystem.SYSTEMD),
        ({"/lib/systemd/systemd": b"\x7fELF"}, InitSystem.SYSTEMD),
        (OPENRC, InitSystem.OPENRC),
        ({"/usr/sbin/openrc-run": b"\x7fELF"}, InitSystem.OPENRC),
        (OPENRC | SYSTEMD, InitSystem.SYSTEMD),
        ({"/sbin/init": b"\x7fELF"}, None),
        ({}, None),
    ],
)
def test_an_init_system_is_known_by_its_program(files: dict[str, bytes], found: InitSystem | None) -> None:
    assert init_system(guest(files)) is found


def test_a_unit_is_enabled_by_the_link_that_systemctl_makes(tmp_path: Path) -> None:
    unit, link = enabled_unit("own.service", UNIT)
    assert isinstance(unit, GuestFile)
    assert isinstance(link, GuestSymlink)
    path = tmp_path / unit.path.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(unit.content)
    command = [need("systemctl", "systemd"), f"--root={tmp_path}", "enable", "own.service"]
    subprocess.run(command, check=True, capture_output=True)
    made = tmp_path / link.path.lstrip("/")
    assert made.readlink().name == link.target.rpartition("/")[2]
    assert (made.parent / made.readlink()).resolve().name == path.name
