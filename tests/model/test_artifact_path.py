"""Paths from records: those that artifacts have are taken, all others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.model.artifact_path import artifact_path

FINGERPRINT = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "path",
    [
        "vms/web/root.cow",
        f"images/debian/{FINGERPRINT}/work-seed@16GiB.ext4",
        "vms/web/..data.ext4",
        "vms/web/.hidden",
        "vms/web/a b",
    ],
)
def test_the_path_of_an_artifact_is_taken_as_it_is(path: str) -> None:
    assert artifact_path(path) == path


@pytest.mark.parametrize("value", [None, 1, b"vms/web/root.cow", ["vms/web/root.cow"], "vms/" + "a" * 2000])
def test_what_is_no_such_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"artifact"):
        artifact_path(value)


@given(st.lists(st.sampled_from(["", ".", "..", "vms", "a", ".locks", "state.db", "\0", "\ud800", "~"])))
def test_a_path_that_is_taken_stays_below_where_it_begins(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        taken = artifact_path(path)
    except ValueError:
        return
    assert not {"", ".", "..", "\0", "\ud800"} & set(taken.split("/"))
    assert parts[0] not in {".locks", "state.db"}
