"""A with block closes what it opened."""

from __future__ import annotations

import pytest

from bangerbuild.host.closing import Closing


class Door(Closing):
    """Something that can be closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_the_block_gets_the_object_and_closes_it_at_its_end() -> None:
    door = Door()
    with door as same:
        assert same is door
        assert not door.is_closed
    assert door.is_closed


def test_an_exception_closes_it_too_and_is_raised() -> None:
    door = Door()
    with pytest.raises(KeyError), door:
        raise KeyError
    assert door.is_closed
