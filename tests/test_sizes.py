"""Sizes as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild import sizes


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (16 << 20, "16 MiB"),
        (1 << 40, "1 TiB"),
    ],
)
def test_a_size_reads_as(size_bytes: int, said: str) -> None:
    assert sizes.readable(size_bytes) == said


@given(st.integers(0, 1 << 60))
def test_a_size_is_said_to_within_a_twentieth_of_its_unit(size_bytes: int) -> None:
    number, unit = sizes.readable(size_bytes).split()
    factor = {name: size for size, name in sizes.UNITS}.get(unit, 1)
    assert abs(float(number) * factor - size_bytes) <= factor / 20
