"""What all errors have in common, and how text and sizes are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SIZE_UNITS, BangerError, exact_size, printable, printable_bytes, readable_size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/etc/hosts", "/etc/hosts"),
        ("Grüße, 世界\t!", "Grüße, 世界\t!"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r", "two\\x0alines\\x0d"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("\udcff", "\\xff"),
        ("abc\u202e\u2066def\u2028", "abc\\u202e\\u2066def\\u2028"),
    ],
)
def test_what_a_guest_wrote_does_not_speak_to_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_brief_of_an_error_is_one_line_whatever_is_in_a_name() -> None:
    error = BangerError("'a\nb' is damaged")
    assert error.brief == str(error) == "'a\\x0ab' is damaged"


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
    assert readable_size(size_bytes) == said


@given(st.integers(0, 1 << 60))
def test_a_size_is_said_to_within_a_twentieth_of_its_unit(size_bytes: int) -> None:
    number, unit = readable_size(size_bytes).split()
    factor = {name: size for size, name in SIZE_UNITS}.get(unit, 1)
    assert abs(float(number) * factor - size_bytes) <= factor / 20


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(16 << 30, "16GiB"), (1536 << 20, "1536MiB"), (4096, "4KiB"), (1 << 40, "1TiB"), (1000, "1000")],
)
def test_an_exact_size_is_in_the_largest_unit_that_divides_it(size_bytes: int, text: str) -> None:
    assert exact_size(size_bytes) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"#!/bin/s", "#!/bin/s"), (b"\x1f\x8b\x00\n", "\\x1f\\x8b\\x00\\x0a"), ("ü".encode(), "\\xc3\\xbc")],
)
def test_bytes_are_shown_as_ascii(data: bytes, text: str) -> None:
    assert printable_bytes(data) == text
