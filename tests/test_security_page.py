"""SECURITY.md names tests that there are."""

from __future__ import annotations

import re

from tests import PROJECT


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", (PROJECT / "SECURITY.md").read_text()))
    assert len(named) > 20
    for path in named:
        assert re.search("^def test_", (PROJECT / path).read_text(), re.MULTILINE), path


def test_the_readme_leads_to_it() -> None:
    assert "(SECURITY.md)" in (PROJECT / "README.md").read_text()
