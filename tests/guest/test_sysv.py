from __future__ import annotations

import pytest

from bangerbuild.guest.sysv import MULTI_USER_RUNLEVELS, started
from tests.guest.view import guest


@pytest.mark.parametrize(
    "path", ["/etc/rc.d/rc3.d/S10network", "/etc/rc2.d/S10network", "/etc/rcS.d/S10network"]
)
def test_a_link_that_starts_a_script_in_a_runlevel_of_the_boot_counts(path: str) -> None:
    assert started(guest({}, {path: "../init.d/network"})) == {"network"}


@pytest.mark.parametrize("path", ["/etc/rc3.d/K10network", "/etc/rc0.d/S10network", "/etc/rc3.d/README"])
def test_a_link_that_stops_a_script_or_is_of_another_runlevel_does_not(path: str) -> None:
    assert started(guest({path: b""})) == frozenset()


def test_runlevel_s_is_not_one_of_those_that_systemd_reads() -> None:
    assert started(guest({"/etc/rcS.d/S10networking": b""}), MULTI_USER_RUNLEVELS) == frozenset()
