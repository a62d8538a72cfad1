"""Commands that messages name, completed with what a run was given, so that they work when pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.given import Given

GIVEN = Given.of([Path("one.toml"), Path("my vms.toml")], Path("st"), [("key", "a b")], [Path("v.toml")])
ALL = "one.toml 'my vms.toml' --store st --var 'key=a b' --var-file v.toml"


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        (
            "`bangerbuild apply --replace vm.a.root` discards",
            f"`bangerbuild apply {ALL} --replace vm.a.root` discards",
        ),
        (
            "bangerbuild gc, or bangerbuild destroy --yes",
            f"bangerbuild gc {ALL}, or bangerbuild destroy {ALL} --yes",
        ),
        (
            "bangerbuild lock --upgrade debian",
            "bangerbuild lock one.toml 'my vms.toml' --var 'key=a b' --var-file v.toml --upgrade debian",
        ),
        (
            "bangerbuild ssh web",
            "bangerbuild ssh --manifest one.toml --manifest 'my vms.toml' --store st web",
        ),
        ("bangerbuild ls DISK /", "bangerbuild ls DISK /"),
        ("the next bangerbuild applies it", "the next bangerbuild applies it"),
        ("`bangerbuild apply --help`", "`bangerbuild apply --help`"),
        ("nothing of ours", "nothing of ours"),
    ],
)
def test_a_command_gets_what_it_takes_right_after_its_name(text: str, completed: str) -> None:
    assert GIVEN.completed(text) == completed


def test_what_was_completed_once_stays_as_it_is() -> None:
    once = GIVEN.completed("bangerbuild recover, then `bangerbuild apply` again")
    assert GIVEN.completed(once) == once


def test_a_run_that_was_given_nothing_changes_no_message() -> None:
    text = "`bangerbuild gc` removes it"
    assert Given().completed(text) == text


def test_of_a_document_only_the_messages_are_completed() -> None:
    text = "bangerbuild gc"
    document = {"hint": text, "actions": [{"notes": [text], "id": text, "diffs": [{"diff": text}]}], "n": 1}
    done = Given(("a.toml",)).completed_document(document)
    assert done == {
        "hint": f"{text} a.toml",
        "actions": [{"notes": [f"{text} a.toml"], "id": text, "diffs": [{"diff": text}]}],
        "n": 1,
    }
