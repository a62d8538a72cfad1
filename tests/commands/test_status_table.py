"""What `status` prints for people."""

from __future__ import annotations

import re

import pytest

from bangerbuild.commands import status, status_table
from bangerbuild.commands.status import ArtifactStatus

MIB = 1 << 20


def one(path: str, state: str = "current", *, in_use: bool = False, mib: int | None = 1) -> ArtifactStatus:
    owner, file = path.split("/")
    size = None if mib is None else mib * MIB
    return ArtifactStatus(f"vms/{path}", f"vm.{owner}.{file}", state, size, size, in_use=in_use)


def rows(*statuses: ArtifactStatus) -> list[str]:
    return list(status_table.lines(statuses))


def test_a_vm_is_one_row_and_the_totals_are_the_last() -> None:
    image = ArtifactStatus("images/a/f/rootfs.ext4", "image.a.rootfs", "current", 64 * MIB, 2 * MIB)
    assert rows(image, one("web/root"), one("web/work", mib=8), one("db/root", "missing", mib=None)) == [
        "STATE    SIZE    ALLOCATED  WHAT     FILES",
        "current  64 MiB  2 MiB      image.a  1 file",
        "current  9 MiB   9 MiB      vm.web   2 files",
        "missing  -       -          vm.db    1 file",
        "2 VMs, 1 image: 1 missing, 2 current; 11 MiB allocated",
    ]


def test_two_hundred_vms_are_as_many_rows() -> None:
    found = [one(f"v{number}/{file}") for number in range(200) for file in ("root", "work", "launch")]
    assert len(rows(*found)) == 202
    assert rows(*found)[-1] == "200 VMs: 200 current; 600 MiB allocated"
    assert len(list(status_table.file_lines(found))) == 601


def test_members_of_a_fleet_are_one_row_where_they_are_in_the_same_state() -> None:
    found = [one(f"r-{number}/{file}") for number in range(1, 6) for file in ("root", "work")]
    found[4] = one("r-3/root", "stale")
    found[8] = one("r-5/root", in_use=True)
    found += [one("s-1/root"), one("solo/root"), one("r-9/root", "undeclared")]
    fleets = {"r": [f"r-{number}" for number in range(1, 7)], "s": ["s-1", "s-2"]}
    assert [re.split(" {2,}", row) for row in status_table.lines(found, fleets)][1:-1] == [
        ["current", "6 MiB", "6 MiB", "fleet.r", "3 VMs (1-2, 4), each 2 files"],
        ["stale", "2 MiB", "2 MiB", "vm.r-3", "2 files, stale: root"],
        ["current, in use", "2 MiB", "2 MiB", "vm.r-5", "2 files"],
        ["current", "1 MiB", "1 MiB", "vm.s-1", "1 file"],
        ["current", "1 MiB", "1 MiB", "vm.solo", "1 file"],
        ["undeclared", "1 MiB", "1 MiB", "vm.r-9", "1 file"],
    ]


def test_a_vm_has_the_state_of_its_worst_file_which_is_named() -> None:
    row = rows(one("web/root"), one("web/work", "stale"), one("web/data", "blocked"))[1]
    assert row.startswith("blocked ")
    assert row.endswith("vm.web  3 files, blocked: data")


def test_a_vm_of_which_a_file_is_in_use_is_in_use() -> None:
    assert rows(one("web/root"), one("web/work", in_use=True))[1].startswith("current, in use  ")


@pytest.mark.parametrize("state", ["undeclared", "declared by two.toml"])
def test_what_is_not_declared_says_so(state: str) -> None:
    assert rows(one("web/root", state))[1].startswith(f"{state}  ")
    assert rows(one("web/root", state))[-1] == f"1 VM: 1 {state}; 1 MiB allocated"


def test_every_state_has_its_gravity() -> None:
    known = {*status.STATES.values(), status.RENAMED, status.DAMAGED, status.UNREADABLE, status.UNJUDGED}
    assert {*status_table.GRAVITY, status_table.CURRENT} == known


def test_a_file_that_is_not_there_has_no_size() -> None:
    head, row = status_table.file_lines([one("web/root", "missing", mib=None)])
    assert row.split() == ["missing", "-", "-", "vms/web/root"]
    assert len(head.split()) == 5


def test_an_empty_store_says_so() -> None:
    assert rows()[1:] == ["Nothing is declared, and nothing is in the store."]
