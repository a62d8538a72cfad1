"""What the parts of a patch ask for is put together in their order."""

from __future__ import annotations

from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile, GuestRemoval


def test_edits_that_are_joined_keep_their_order() -> None:
    first = GuestEdits((GuestDirectory("/srv"), GuestFile("/srv/a", b"a")), ("the first",))
    second = GuestEdits((GuestRemoval("/srv/a"),), ("the second",))
    assert GuestEdits.joined(part for part in (first, second)) == GuestEdits(
        (GuestDirectory("/srv"), GuestFile("/srv/a", b"a"), GuestRemoval("/srv/a")),
        ("the first", "the second"),
    )


def test_nothing_joined_is_nothing() -> None:
    assert GuestEdits.joined([]) == GuestEdits()
