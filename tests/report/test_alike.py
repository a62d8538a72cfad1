"""What is said of many VMs in the same words is said once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild import report
from bangerbuild.model import Action, FileDiff, Plan, Reason, ReasonCode, Recipe, Verb
from bangerbuild.report import reporters
from tests.fakes import FakeDisk

DIFF = "--- a\n+++ b\n@@ -1 +1 @@\n-nameserver 1.1.1.1\n+nameserver {}\n"
DNS = Reason(ReasonCode.RECIPE_CHANGED, {"key": "network.dns", "old": ["1.1.1.1"], "new": ["9.9.9.9"]})


def patch(vm: str, server: str = "9.9.9.9") -> Action:
    diff = FileDiff("/etc/resolv.conf", DIFF.format(server))
    recipe = Recipe("fake", {}, {}, {}, {})
    return Action(FakeDisk(f"vm.{vm}.root"), Verb.UPDATE, (DNS,), recipe, "f00d", ("x",), diffs=(diff,))


def blocked(vm: str) -> Action:
    reasons = (Reason(ReasonCode.DISK_GONE, {"path": f"vms/{vm}/root.cow", "hint": f"mount vms/{vm}"}),)
    return Action(FakeDisk(f"vm.{vm}.root"), Verb.BLOCKED, reasons, Recipe("f", {}, {}, {}, {}), "f", ("x",))


def lines(*actions: Action, in_full: bool = False) -> list[str]:
    return list(report.plan_lines(Plan(Path("/build"), actions), in_full=in_full))


MANY = tuple(patch(f"v{number:03}") for number in range(199))


def test_the_same_diff_of_many_vms_is_shown_once_and_how_many_have_it() -> None:
    found = lines(*MANY)
    assert len(found) == 6
    assert found[0] == "  update  vm.v000.root  network.dns: 1.1.1.1 -> 9.9.9.9"
    assert found[4].startswith("          the same for 198 more VMs: vm.v001, vm.v002, ")
    assert found[5] == "Plan: 199 to update."


def test_in_full_each_vm_has_its_diff() -> None:
    assert len(lines(*MANY, in_full=True)) == 199 * 5 + 1  # with the artifact


def test_one_that_differs_is_shown_by_itself() -> None:
    found = lines(*MANY[:5], patch("other", "8.8.8.8"), *MANY[5:])
    assert [line.strip() for line in found if "nameserver" in line] == [
        "-nameserver 1.1.1.1",
        "+nameserver 9.9.9.9",
        "-nameserver 1.1.1.1",
        "+nameserver 8.8.8.8",
    ]
    assert sum("the same for 198 more VMs" in line for line in found) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_of_few_vms_all_are_shown(count: int) -> None:
    found = lines(*MANY[:count])
    assert sum("+nameserver" in line for line in found) == count


def test_what_takes_one_line_is_a_line_for_each() -> None:
    made = [
        Action(
            FakeDisk(f"vm.v{number}.root"), Verb.CREATE, (Reason(ReasonCode.MISSING),), one.recipe, "f", ()
        )
        for number, one in enumerate(MANY)
    ]
    assert len(lines(*made)) == 200


def test_the_way_out_of_many_blocked_disks_is_shown_once_in_a_plan_and_in_a_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    actions = tuple(blocked(f"v{number}") for number in range(50))
    found = lines(*actions)
    assert [line.strip() for line in found[1:3]] == [
        "mount vms/v0",
        "the same for 49 more VMs: vm.v1, vm.v2, vm.v3, vm.v4, vm.v5 and 44 more",
    ]
    reporters.Plain(verbose=False).planned(Plan(Path("/build"), actions))
    assert [line.strip() for line in capsys.readouterr().err.splitlines()[1:]] == [
        line.strip() for line in found[1:3]
    ]
