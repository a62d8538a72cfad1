"""What all errors have in common."""

from __future__ import annotations

import pytest

from bangerbuild.errors import BangerError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/etc/hosts", "/etc/hosts"),
        ("Grüße, 世界\t!", "Grüße, 世界\t!"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r", "two\\x0alines\\x0d"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("\udcff", "\\xff"),
    ],
)
def test_what_a_guest_wrote_does_not_speak_to_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_brief_of_an_error_is_one_line_whatever_is_in_a_name() -> None:
    error = BangerError("'a\nb' is damaged")
    assert error.brief == str(error) == "'a\\x0ab' is damaged"
