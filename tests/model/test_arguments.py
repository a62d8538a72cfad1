"""What is checked of the arguments of the Python interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.model import Silent
from bangerbuild.model.arguments import check_reporter, check_type, listed


def test_a_bool_is_no_number_but_a_bool() -> None:
    check_type(True, bool, "True or False")  # noqa: FBT003
    check_type(True, (int, bool), "a value")  # noqa: FBT003
    with pytest.raises(TypeError, match="a number is asked for, and bool was given"):
        check_type(True, int, "a number")  # noqa: FBT003


def test_whatever_has_items_is_a_list_of_them() -> None:
    assert listed((name for name in ("a", "b")), "targets", str, "a name") == ("a", "b")


@pytest.mark.parametrize("given", ["vm", b"vm", Path("vm")])
def test_one_name_is_no_list(given: str | bytes | Path) -> None:
    with pytest.raises(TypeError, match=r"is one name where a list of them is asked for: give \[b?'vm'\]"):
        listed(given, "targets", str, "a name")  # type: ignore[arg-type]


def test_a_reporter_need_not_inherit_but_has_every_method() -> None:
    class Deaf:
        planned = started = finished = warned = None

    check_reporter(Silent())
    with pytest.raises(TypeError, match=r"and Deaf was given: it has no progressed$"):
        check_reporter(Deaf())
