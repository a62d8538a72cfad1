"""Which files a network has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.bridging.files import files, is_ours, names
from tests.bridging.samples import EMPTY, LAN, PLAIN

if TYPE_CHECKING:
    from bangerbuild.bridging.bridge import Bridge


@pytest.mark.parametrize("bridge", [LAN, PLAIN, EMPTY])
def test_the_files_have_the_names_that_are_told_before(bridge: Bridge) -> None:
    made = files(bridge, 1000)
    assert tuple(file.name for file in made) == names(bridge)
    assert all(is_ours(file.name) for file in made)


def test_the_rules_are_there_with_nat_only() -> None:
    assert set(names(LAN)) - set(names(PLAIN)) == {"nat.nft"}


def test_scripts_can_be_run_and_the_rest_is_read() -> None:
    modes = {file.name: file.mode for file in files(LAN, 1000)}
    assert {name for name, mode in modes.items() if mode == 0o755} == {"up.sh", "down.sh"}
    assert set(modes.values()) == {0o755, 0o644}


def test_the_user_counts_in_the_files_for_networkd_alone() -> None:
    pairs = zip(files(LAN, 1), files(LAN, 2), strict=True)
    assert {one.name for one, other in pairs if one != other} == {"71-tap-db.netdev", "71-tap-web.netdev"}


def test_a_further_vm_is_one_file_more() -> None:
    more = replace(LAN, taps=(*LAN.taps, "tap-x"))
    assert set(names(more)) - set(names(LAN)) == {"71-tap-x.netdev"}


@pytest.mark.parametrize("name", ["notes.txt", "70-notes", "x.network"])
def test_other_files_are_not_ours(name: str) -> None:
    assert not is_ours(name)
