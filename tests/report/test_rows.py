"""The rows of a plan: the same grouping as on the terminal, as values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bangerbuild.model import Plan, Verb
from bangerbuild.report.rows import rows
from tests.report.plans import DIFF, IN_USE, MISSING, PLAN, action, changed


def fleet(*verbs: Verb, text: str = "") -> Plan:
    """A plan of a fleet: one VM with two steps for each verb."""
    names = [f"r-{number}" for number in range(len(verbs))]
    actions = [
        action(
            f"vm.{name}.{part}",
            verb,
            MISSING if verb is Verb.CREATE else changed("hostname", old=name, new=text),
        )
        for name, verb in zip(names, verbs, strict=True)
        for part in ("root", "root.patch")
    ]
    return Plan(Path("/b"), tuple(actions), fleets={"r": tuple(names)})


def test_a_row_has_what_the_terminal_says_of_a_step() -> None:
    found = list(rows(PLAN))
    assert [(row.verb, row.name) for row in found] == [
        (Verb.CREATE, "vm.db.root"),
        (Verb.UPDATE, "vm.web.root.patch"),
        (Verb.GROW, "vm.web.work"),
        (Verb.BLOCKED, "vm.old.root"),
    ]
    assert found[1].reasons == ("network.dns: 1.1.1.1 -> 9.9.9.9",)
    assert found[1].diffs[0] is DIFF
    assert found[3].way_out == "`bangerbuild apply --replace vm.old.root` discards what is in it"
    assert found[3].owner == "vm.old"


def test_kept_steps_have_rows_where_all_is_asked_for_and_diffs_only_where_they_are() -> None:
    assert next(rows(PLAN, in_full=True)).verb is Verb.KEEP
    assert not any(row.diffs for row in rows(PLAN, diffs=False))


def test_a_fleet_that_is_made_is_one_row_that_counts_all_steps() -> None:
    (row,) = rows(fleet(Verb.CREATE, Verb.CREATE, Verb.CREATE))
    assert (row.name, row.members, row.steps) == ("fleet.r", "3 VMs (0-2)", 6)


def test_members_that_change_alike_are_one_row_for_each_part_without_a_name() -> None:
    found = list(rows(fleet(Verb.UPDATE, Verb.UPDATE, text="x")))
    assert [(row.name, row.steps) for row in found] == [("fleet.r.root", 2), ("fleet.r.root.patch", 2)]
    assert found[0].reasons == ("hostname: * -> x",)


def test_a_step_in_use_says_so_and_its_notes_are_fit_to_be_shown() -> None:
    used = replace(action("vm.a.root", Verb.REPLACE, IN_USE), notes=("\x1b[31m",), warnings=("\x07",))
    (row,) = rows(Plan(Path("/b"), (used,)))
    assert row.in_use
    assert (row.notes, row.warnings) == (("\\x1b[31m",), ("\\x07",))
