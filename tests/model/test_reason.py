"""Reasons as JSON."""

from __future__ import annotations

from bangerbuild.model import Reason, ReasonCode, Verb


def test_the_facts_stand_beside_the_code() -> None:
    reason = Reason(ReasonCode.SIZE_GROW, {"old": 1, "new": 2})
    assert reason.to_json() == {"code": "size-grow", "old": 1, "new": 2}
    assert Reason(ReasonCode.MISSING).to_json() == {"code": "missing"}


def test_verbs_and_codes_are_words_that_scripts_compare() -> None:
    assert [verb.value for verb in Verb] == [
        "keep",
        "create",
        "fetch",
        "move",
        "adopt",
        "update",
        "grow",
        "replace",
        "blocked",
    ]
    assert all(code.value == code.name.lower().replace("_", "-") for code in ReasonCode)
