"""A store under load: many commands at once, killed, stopped and interrupted, while guests write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture.drill import torture

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = 4
"""Of each worker; `make torture` goes on for ten minutes."""


def test_a_store_under_load_loses_nothing_and_comes_to_rest(tmp_path: Path) -> None:
    outcome = torture(tmp_path, 1, lambda given: given >= COMMANDS)
    assert outcome.faults == [], str(outcome)
    assert outcome.guests.written, str(outcome)
