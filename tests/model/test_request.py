"""What a run is asked for, and the time that is given to all it makes."""

from __future__ import annotations

import pytest

from bangerbuild.errors import UsageError
from bangerbuild.model.request import epoch


def test_the_time_of_all_that_is_made_is_the_year_2000_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert (epoch(), epoch().is_set) == (946_684_800, False)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert (epoch(), epoch().is_set) == (1_700_000_000, True)


@pytest.mark.parametrize("text", ["", "now", "-1", "0", "1.5", " 1", "4294967296", "٣"])
def test_a_time_that_is_none_is_refused_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(UsageError, match="number of seconds from 1 to 4294967295") as caught:
        epoch()
    assert caught.value.hint == "unset SOURCE_DATE_EPOCH"
