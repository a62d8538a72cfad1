from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.planning.plan_view import KeptOpen

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_what_steps_share_is_made_once_and_closed_with_the_plan() -> None:
    events: list[str] = []

    @contextmanager
    def made(name: str) -> Iterator[str]:
        events.append(f"open {name}")
        yield name
        events.append(f"close {name}")

    with ExitStack() as stack:
        kept = KeptOpen(stack)
        assert [kept.get(key, partial(made, key)) for key in ("a", "b", "a")] == ["a", "b", "a"]
        assert events == ["open a", "open b"]
    assert events == ["open a", "open b", "close b", "close a"]
