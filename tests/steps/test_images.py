"""What is done about an artifact that never changes once it is made."""

from __future__ import annotations

import pytest

from bangerbuild.model import Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.steps.images import judge

MISSING = Reason(ReasonCode.MISSING)
CHANGED = Reason(ReasonCode.SOURCE_CHANGED, {"path": "root.tar"})
ONE = ("images/a/f/rootfs.ext4",)
TWO = ("images/a/f/vmlinuz", "images/a/f/vmlinux")


def situation(
    *changes: Reason, artifacts: tuple[str, ...] | None = ONE, missing: bool = False, modified: bool = False
) -> Situation:
    """How things stand; without artifacts there is no record."""
    record = None if artifacts is None else Record("a", Recipe("k", {}, {}, {}, {}), "f", artifacts)
    return Situation(record, changes, missing, lambda: modified)


def modified(path: str) -> Reason:
    return Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": path})


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (situation(), Verdict(Verb.KEEP)),
        (situation(artifacts=None, missing=True), Verdict(Verb.CREATE, (MISSING,))),
        (situation(artifacts=None), Verdict(Verb.CREATE, (MISSING,))),
        (situation(missing=True), Verdict(Verb.CREATE, (MISSING,))),
        (situation(CHANGED), Verdict(Verb.CREATE, (CHANGED,))),
        (situation(CHANGED, missing=True), Verdict(Verb.CREATE, (CHANGED, MISSING))),
        (situation(CHANGED, modified=True), Verdict(Verb.CREATE, (CHANGED,))),
        (situation(modified=True), Verdict(Verb.REPLACE, (modified(ONE[0]),))),
        (situation(artifacts=TWO, modified=True), Verdict(Verb.REPLACE, (modified("images/a/f"),))),
    ],
)
def test_it_is_kept_or_made_and_never_changed_in_place(given: Situation, verdict: Verdict) -> None:
    assert judge(given) == verdict


@pytest.mark.parametrize("given", [(CHANGED,), ()])
def test_it_is_read_only_where_nothing_else_says_that_it_has_to_be_made(given: tuple[Reason, ...]) -> None:
    def read() -> bool:
        raise AssertionError("all of it was read")

    record = Record("a", Recipe("k", {}, {}, {}, {}), "f", ONE)
    assert judge(Situation(record, given, not given, read)).verb is Verb.CREATE
