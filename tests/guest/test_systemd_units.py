"""What systemd does with such trees is in systemd.unit(5); `systemctl --root` reads the links of one here."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import GuestPathError
from bangerbuild.guest.systemd_units import MOST_DEPTH, SystemdUnits
from tests.guest.network_managers.images import ETC, UNITS
from tests.guest.view import DictView, guest
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

UNIT = b"[Unit]\n"
NETWORKD = "systemd-networkd.service"


def pulled_in(files: dict[str, bytes], links: dict[str, str] | None = None) -> frozenset[str]:
    return SystemdUnits(guest(files, links)).pulled_in(["default.target"])


@pytest.mark.parametrize("directory", [ETC, UNITS])
@pytest.mark.parametrize("text", ["custom.target", f"{UNITS}/custom.target", "../system/custom.target"])
def test_the_target_that_default_target_stands_for_is_pulled_in(directory: str, text: str) -> None:
    files = {f"{UNITS}/custom.target": UNIT, f"{ETC}/custom.target.wants/{NETWORKD}": b""}
    assert NETWORKD in pulled_in(files, {f"{directory}/default.target": text})


def test_the_link_of_the_administrator_is_followed_and_not_the_distributions() -> None:
    files = {f"{UNITS}/{name}.target.wants/{name}.service": b"" for name in ("ours", "theirs")}
    links = {f"{ETC}/default.target": "ours.target", f"{UNITS}/default.target": "theirs.target"}
    found = pulled_in(files, links)
    assert ("ours.service" in found, "theirs.service" in found) == (True, False)


def test_systemctl_takes_the_same_target_for_the_default(tmp_path: Path) -> None:
    for directory, target in ((ETC, "ours.target"), (UNITS, "theirs.target")):
        where = tmp_path / directory.lstrip("/")
        where.mkdir(parents=True)
        (where / target).write_bytes(UNIT)
        (where / "default.target").symlink_to(target)
    command = [need("systemctl", "systemd"), f"--root={tmp_path}", "get-default"]
    assert subprocess.check_output(command, text=True) == "ours.target\n"


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (f"[Unit]\nWants={NETWORKD}\n", True),
        (f"[Unit]\nRequires=a.service {NETWORKD} b.service\n", True),
        (f"[Unit]\nWants = a.service \\\n  {NETWORKD}\n", True),
        (f"[Unit]\nWants={NETWORKD}\nWants=\n", True),
        (f"[Unit]\nAfter={NETWORKD}\n", False),
        (f"[Unit]\n#Wants={NETWORKD}\n", False),
        (f"[Unit]\nConflicts={NETWORKD}\n", False),
        (f"[Install]\nWants={NETWORKD}\n", False),
    ],
)
def test_what_the_file_of_a_target_wants_and_requires_is_pulled_in(text: str, *, starts: bool) -> None:
    assert (NETWORKD in pulled_in({f"{ETC}/default.target": text.encode()})) is starts
    drop_in = {f"{UNITS}/default.target": UNIT, f"{ETC}/default.target.d/a.conf": text.encode()}
    assert (NETWORKD in pulled_in(drop_in)) is starts


def test_targets_pull_in_targets_and_a_circle_of_them_ends() -> None:
    files = {
        f"{ETC}/default.target": b"[Unit]\nRequires=a.target\n",
        f"{ETC}/a.target.requires/b.target": b"",
        f"{UNITS}/b.target": b"[Unit]\nWants=default.target\n",
        f"{UNITS}/b.target.wants/{NETWORKD}": b"",
    }
    assert NETWORKD in pulled_in(files)


def test_a_chain_of_targets_is_followed_only_so_far() -> None:
    chain = {f"{UNITS}/{n}.target": f"[Unit]\nWants={n + 1}.target\n".encode() for n in range(1000)}
    found = pulled_in({**chain, f"{ETC}/default.target": b"[Unit]\nWants=0.target\n"})
    assert len(found) == MOST_DEPTH + 1


@pytest.mark.parametrize("masked", [{f"{ETC}/a.target": b""}, {}])
def test_a_masked_target_pulls_in_nothing(masked: dict[str, bytes]) -> None:
    links = {} if masked else {f"{ETC}/a.target": "/dev/null"}
    files = {f"{ETC}/default.target": b"[Unit]\nWants=a.target\n", f"{UNITS}/a.target": UNIT, **masked}
    assert NETWORKD not in pulled_in({**files, f"{UNITS}/a.target.wants/{NETWORKD}": b""}, links)


def test_what_services_want_is_not_followed() -> None:
    files = {f"{ETC}/default.target.wants/a.service": b"", f"{UNITS}/a.service": b"[Unit]\nWants=b.service\n"}
    assert pulled_in(files) == {"default.target", "a.service"}


def test_an_alias_stands_for_its_service() -> None:
    files = {f"{ETC}/default.target.wants/network.service": b""}
    assert "wicked.service" in pulled_in(files, {f"{ETC}/network.service": f"{UNITS}/wicked.service"})


def test_a_directory_in_the_place_of_a_unit_is_passed_over() -> None:
    broken = {f"{ETC}/default.target": GuestPathError("'default.target' is no regular file")}
    view = DictView({f"{ETC}/multi-user.target.wants/{NETWORKD}": b""}, broken=broken)
    assert NETWORKD in SystemdUnits(view).pulled_in(["default.target", "multi-user.target"])
