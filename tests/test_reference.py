"""The reference page of the manifest's keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bangerbuild import manifest

PROJECT = Path(__file__).parents[1]


def test_the_page_is_what_the_schema_says_today() -> None:
    made = subprocess.run([sys.executable, PROJECT / "tools/reference.py"], capture_output=True, check=True)
    assert (PROJECT / "docs/manifest.md").read_bytes() == made.stdout, "tools/reference.py > docs/manifest.md"


def test_the_page_describes_every_key_of_a_vm() -> None:
    page = (PROJECT / "docs/manifest.md").read_text()
    missing = [key for key in manifest.schema()["$defs"]["vm"]["properties"] if f"| `{key}` |" not in page]
    assert missing == []
