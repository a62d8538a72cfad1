"""What people read of a plan, its execution and its errors; what programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bangerbuild import report
from bangerbuild.errors import Problem, SourceError
from bangerbuild.model import FileDiff, Outcome, Plan, Reason, ReasonCode, Result, Verb
from tests.report.plans import DIFF, IN_USE, MISSING, PLAN, WROTE, action, because, changed

SUMMARY_KEYS = ["create", "fetch", "move", "adopt", "update", "grow", "replace", "blocked", "keep", "failed"]


def text(plan: Plan, **options: Any) -> str:  # noqa: ANN401  # the options of a plan's lines
    return "\n".join(report.plan_lines(plan, **options))


def test_a_plan_reads_as_what_is_done_to_which_step_and_why() -> None:
    assert text(PLAN) == (
        "  create  vm.db.root         missing\n"
        "  update  vm.web.root.patch  network.dns: 1.1.1.1 -> 9.9.9.9\n"
        "          --- /etc/resolv.conf\n"
        "          -nameserver 1.1.1.1\n"
        "          +nameserver 9.9.9.9\n"
        "          /root/.ssh/id: changes (contents not shown)\n"
        "  grow    vm.web.work        16 GiB -> 32 GiB\n"
        "  blocked vm.old.root        image.deb.rootfs changed\n"
        "                             the guest has written to it since it was built\n"
        "          `bangerbuild apply --replace vm.old.root` discards what is in it\n"
        "Plan: 1 to create, 1 to update, 1 to grow, 1 blocked, 1 kept."
    )


def test_what_a_run_will_warn_of_stands_below_its_step_and_in_the_document() -> None:
    warned = replace(action("a", Verb.CREATE, MISSING), warnings=("no device \x1b", "odd"))
    plan = Plan(Path("/b"), (warned,))
    assert [line.strip() for line in text(plan).splitlines()[1:3]] == [
        "warning: no device \\x1b",
        "warning: odd",
    ]
    document = json.loads(json.dumps(report.plan_json(plan)))
    assert document["actions"][0]["warnings"] == ["no device \x1b", "odd"]


def test_the_diffs_of_a_plan_can_be_left_out() -> None:
    assert "nameserver" not in text(PLAN, diffs=False)
    assert "/root/.ssh/id" not in text(PLAN, diffs=False)


def test_a_plan_in_full_shows_kept_steps_and_where_each_artifact_lies() -> None:
    assert text(PLAN, in_full=True, diffs=False) == (
        "  keep    image.deb.rootfs   images/deb/f00d/rootfs.ext4\n"
        "  create  vm.db.root         missing\n"
        "                             vms/web/root.cow\n"
        "  update  vm.web.root.patch  network.dns: 1.1.1.1 -> 9.9.9.9\n"
        "  grow    vm.web.work        16 GiB -> 32 GiB\n"
        "                             vms/web/work.ext4\n"
        "  blocked vm.old.root        image.deb.rootfs changed\n"
        "                             the guest has written to it since it was built\n"
        "                             vms/old/root.cow\n"
        "          `bangerbuild apply --replace vm.old.root` discards what is in it\n"
        "Plan: 1 to create, 1 to update, 1 to grow, 1 blocked, 1 kept."
    )


def test_a_plan_in_colours_is_the_same_text_with_colours_around_verbs_and_changed_lines() -> None:
    coloured = text(PLAN, coloured=True)
    assert "\x1b[32mcreate \x1b[0m" in coloured
    assert "\x1b[31m-nameserver 1.1.1.1\x1b[0m" in coloured
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == text(PLAN)


def test_a_kept_step_with_something_to_say_is_shown() -> None:
    tool = because(ReasonCode.TOOL_CHANGED, tool="mke2fs", old="1", new="2")
    plan = Plan(Path("/b"), (action("a", Verb.KEEP, tool), action("b", Verb.KEEP)))
    assert text(plan) == "  keep    a  mke2fs 1 -> 2, kept all the same\nNothing to do: 2 kept."


def test_a_plan_of_nothing_says_so() -> None:
    assert text(Plan(Path("/b"), ())) == "Nothing to do: 0 kept."


def test_a_step_that_is_left_because_its_disk_is_in_use_is_not_counted_as_to_be_done() -> None:
    plan = Plan(Path("/b"), (action("vm.a.root.patch", Verb.UPDATE, MISSING, IN_USE),))
    assert report.plan_sum(plan) == "Plan: 1 in use."


def test_a_blocked_disk_that_is_in_use_counts_once_as_blocked() -> None:
    plan = Plan(Path("/b"), (action("a", Verb.BLOCKED, WROTE, IN_USE),))
    assert report.plan_sum(plan) == "Plan: 1 blocked."
    assert report.result_sum(plan, [Result("a", Outcome.SKIPPED)], 0.04) == "1 blocked in 0.0 s"


def test_a_blocked_patch_names_its_disk_which_has_the_way_out() -> None:
    blocked = [action("vm.a.root", Verb.BLOCKED), action("vm.a.root.patch", Verb.BLOCKED)]
    assert [report.way_out(one) for one in blocked] == [
        "`bangerbuild apply --replace vm.a.root` discards what is in it",
        "see vm.a.root",
    ]


def test_a_disk_whose_base_no_record_names_is_not_to_be_discarded_before_its_header_was_read() -> None:
    blocked = action("vm.a.root", Verb.BLOCKED, because(ReasonCode.BASE_UNKNOWN))
    assert report.way_out(blocked) == "`bangerbuild recover` looks into its header for that"
    gone = action("vm.a.root", Verb.BLOCKED, because(ReasonCode.BASE_UNKNOWN, missing="images/a"))
    assert "--replace" in str(report.way_out(gone))


def test_a_long_diff_is_cut_and_says_by_how_much() -> None:
    lines = "".join(f"+line {number}\n" for number in range(report.DIFF_LINES + 5))
    diff = FileDiff("/a", f"--- /a\n+++ /a\n@@ -0,0 +1,45 @@\n{lines}")
    shown = text(Plan(Path("/b"), (action("a", Verb.UPDATE, MISSING, diffs=(diff,)),))).splitlines()
    assert shown[-3:] == ["          +line 39", "          ... 5 more lines", "Plan: 1 to update."]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (because(ReasonCode.MISSING), "missing"),
        (because(ReasonCode.MISSING, record=True), "no record of it"),
        (changed("hostname", old="a", new="b"), "hostname: a -> b"),
        (changed("file[/a].content"), "file[/a].content changed"),
        (changed("guest.sshd", old=True, new=False), "guest.sshd: true -> false"),
        (changed("network.dns", old=["1"], new=[]), "network.dns: 1 -> none"),
        (changed("network.gateway", old=None, new="1"), "network.gateway added: 1"),
        (changed("network.gateway", old="1", new=None), "network.gateway removed: 1"),
        (changed("mount[/x]", old=None, new={"target": "/x"}), "mount[/x] added"),
        (
            changed("rootfs.size_bytes", old=1 << 30, new=3 << 29),
            "rootfs.size_bytes: 1 GiB -> 1.5 GiB",
        ),
        (changed("root.size", old=None, new=8 << 30), "root.size added: 8 GiB"),
        (
            changed("file[/a].mode", old=0o644, new=0o600),
            "file[/a].mode: 0644 -> 0600",
        ),
        (changed("k", old="x" * 99, new="y"), f"k: {'x' * 57}... -> y"),
        (because(ReasonCode.SOURCE_CHANGED, path="~/a"), "~/a changed"),
        (because(ReasonCode.INPUT_CHANGED, id="image.a.rootfs"), "image.a.rootfs changed"),
        (because(ReasonCode.TOOL_CHANGED, tool="t", old=None, new="2"), "t none -> 2, kept all the same"),
        (because(ReasonCode.ARTIFACT_MODIFIED, path="x"), "x was changed by someone else"),
        (because(ReasonCode.FILE_DIFFERS, guest="/a"), "/a differs in the guest"),
        (because(ReasonCode.FILE_UNDECLARED, guest="/a"), "/a left the manifest"),
        (because(ReasonCode.SIZE_GROW, old=1024, new=2048), "1 KiB -> 2 KiB"),
        (
            because(ReasonCode.SIZE_SHRINK, old=2 << 30, new=1 << 30),
            "2 GiB -> 1 GiB: a disk can't shrink and keep its data",
        ),
        (because(ReasonCode.GUEST_WROTE), "the guest has written to it since it was built"),
        (because(ReasonCode.BASE_BEHIND, id="image.a.rootfs"), "stays on the old image.a.rootfs"),
        (because(ReasonCode.BASE_UNKNOWN), "no record says which base it stands on"),
        (IN_USE, "in use by qemu (process 7)"),
        (because(ReasonCode.INTERRUPTED), "interrupted before"),
        (because(ReasonCode.FORCED), "--replace"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_a_reason_reads_as(reason: Reason, said: str) -> None:
    assert report.reason(reason) == said


@pytest.mark.parametrize("code", ReasonCode)
def test_every_reason_has_words(code: ReasonCode) -> None:
    assert code in report.REASONS


RESULTS = (
    Result("image.deb.rootfs", Outcome.SKIPPED),
    Result("vm.db.root", Outcome.DONE, 0.25),
    Result("vm.web.root.patch", Outcome.FAILED, 0.5, SourceError("'~/a' can't be read")),
    Result("vm.web.work", Outcome.SKIPPED),
    Result("vm.old.root", Outcome.SKIPPED),
)


def test_an_apply_ends_with_what_became_of_every_step() -> None:
    assert report.result_sum(PLAN, RESULTS, 0.44) == (
        "1 done, 1 failed, 1 skipped, 1 blocked, 1 kept in 0.4 s"
    )


def test_an_apply_of_nothing_says_so() -> None:
    assert report.result_sum(Plan(Path("/b"), ()), (), 0.0) == "nothing to do in 0.0 s"


def test_an_apply_that_left_a_held_disk_counts_it() -> None:
    plan = Plan(Path("/b"), (action("vm.a.root.patch", Verb.UPDATE, MISSING, IN_USE),))
    assert report.result_sum(plan, [Result("vm.a.root.patch", Outcome.SKIPPED)], 0) == "1 in use in 0.0 s"


def test_the_plan_document_has_these_keys_and_values() -> None:
    document = report.plan_json(replace(PLAN, actions=PLAN.actions[1:3]))
    assert document == {
        "format": 1,
        "store": "/home/me/build",
        "actions": [
            {
                "id": "vm.db.root",
                "kind": "fake",
                "action": "create",
                "artifacts": ["vms/web/root.cow"],
                "fingerprint": "f00d",
                "reasons": [{"code": "missing"}],
                "needs": ["image.deb.rootfs"],
            },
            {
                "id": "vm.web.root.patch",
                "kind": "fake",
                "action": "update",
                "artifacts": ["vms/web/root.cow"],
                "fingerprint": "f00d",
                "reasons": [
                    {"code": "recipe-changed", "key": "network.dns", "old": ["1.1.1.1"], "new": ["9.9.9.9"]}
                ],
                "needs": [],
                "diffs": [
                    {"guest": "/etc/resolv.conf", "diff": DIFF.text, "note": None},
                    {"guest": "/root/.ssh/id", "diff": None, "note": "changes (contents not shown)"},
                ],
            },
        ],
        "undeclared": [],
        "orphaned": [],
        "notes": [],
        "summary": {
            "create": 1,
            "fetch": 0,
            "move": 0,
            "adopt": 0,
            "update": 1,
            "grow": 0,
            "replace": 0,
            "blocked": 0,
            "keep": 0,
            "failed": 0,
        },
    }


def test_the_summary_has_exactly_the_promised_keys_in_their_order() -> None:
    summary = report.plan_json(PLAN)["summary"]
    assert isinstance(summary, dict)
    assert list(summary) == SUMMARY_KEYS
    assert summary == dict(zip(SUMMARY_KEYS, [1, 0, 0, 0, 1, 1, 0, 1, 1, 0], strict=True))


def test_the_document_of_an_apply_adds_what_became_of_every_step() -> None:
    document = report.plan_json(PLAN, RESULTS)
    actions = document["actions"]
    assert isinstance(actions, list)
    ends = [
        {key: item.get(key) for key in ("result", "seconds", "error")}
        for item in actions
        if isinstance(item, dict)
    ]
    assert ends == [
        {"result": "skipped", "seconds": 0.0, "error": None},
        {"result": "done", "seconds": 0.25, "error": None},
        {
            "result": "failed",
            "seconds": 0.5,
            "error": {"brief": "'~/a' can't be read", "details": None, "hint": None},
        },
        {"result": "skipped", "seconds": 0.0, "error": None},
        {"result": "skipped", "seconds": 0.0, "error": None},
    ]
    assert document["summary"] == {**dict(zip(SUMMARY_KEYS, [1, 0, 0, 0, 1, 1, 0, 1, 1, 1], strict=True))}


def test_only_what_failed_has_an_error_key() -> None:
    actions = report.plan_json(PLAN, RESULTS)["actions"]
    assert isinstance(actions, list)
    assert [isinstance(item, dict) and "error" in item for item in actions] == [
        False, False, True, False, False,
    ]  # fmt: skip


def test_the_document_is_plain_json() -> None:
    document = report.plan_json(PLAN, RESULTS)
    assert json.loads(json.dumps(document)) == document


def test_a_problem_reads_as_file_line_key_and_message_as_editors_jump_to_it() -> None:
    problems = [
        Problem("vm.toml", 3, "vm.web.imgae", "unknown key", "did you mean 'image'?"),
        Problem("vm.toml", 0, "", "can't be read"),
    ]
    assert list(report.problem_lines(problems)) == [
        "vm.toml:3: vm.web.imgae: unknown key",
        "  hint: did you mean 'image'?",
        "vm.toml: can't be read",
    ]


def test_an_error_reads_as_brief_details_and_the_way_out() -> None:
    error = SourceError("'a' can't be read", details="one\ntwo", hint="chmod +r a")
    assert list(report.error_lines(error)) == [
        "error: 'a' can't be read",
        "  one",
        "  two",
        "  hint: chmod +r a",
    ]


def test_an_error_without_more_to_say_is_one_line() -> None:
    assert list(report.error_lines(SourceError("'a' can't be read"))) == ["error: 'a' can't be read"]


def test_what_a_guest_wrote_into_a_file_does_not_reach_the_terminal_as_it_is() -> None:
    text = "--- a\n+++ b\n@@ -1 +1 @@\n-old\twith\x1b]0;title\x07\u2028\n+new\r\n"
    changed = action("a", Verb.UPDATE, MISSING, diffs=(FileDiff("/f", text),))
    shown = list(report.plan_lines(Plan(Path("/build"), (changed,))))
    assert "          -old\twith\\x1b]0;title\\x07\\u2028" in shown
    assert "          +new\\x0d" in shown


def test_names_of_guests_are_spelt_out_in_reasons_and_diffs() -> None:
    named = action(
        "vm.web.root.patch",
        Verb.UPDATE,
        because(ReasonCode.FILE_DIFFERS, guest="/etc/\x1b[2J"),
        diffs=(FileDiff("/etc/\udcff\x1b", note="is removed"), FileDiff("/\r", DIFF.text)),
    )
    lines = "\n".join(report.plan_lines(Plan(Path("/build"), (named,))))
    assert "/etc/\\x1b[2J differs in the guest" in lines
    assert "/etc/\\xff\\x1b: is removed" in lines
    assert "--- /\\x0d" in lines


def test_an_interrupted_run_names_what_disks_are_changed_by_half() -> None:
    assert report.interrupted(["vm.web.root"], ["vms/web/work.ext4"]) == (
        "interrupted: vm.web.root stay, the rest is made by the next `bangerbuild apply`"
        " (start no VM before: vms/web/work.ext4 changed by half)"
    )
