"""An image's `kernel`, `initrd` and `cmdline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.problems import quoted
from bangerbuild.manifest.source_table import TableReader
from bangerbuild.sources import BOOT_FILES

if TYPE_CHECKING:
    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.sources.source import BootSource

_PLAIN = "path"
"""The kind that is written as one plain value, without a table."""


def boot_source(table: Table, key: str, place: Location, findings: Findings) -> BootSource | None:
    """The `kernel` or `initrd` of an image; None if there is none, or none that can be built.

    Args:
        table: the image's.
        key: `kernel` or `initrd`.
        place: of the image.
        findings: takes the problems.
    """
    value: Any = table.get(key)
    if value is None:
        return None
    is_plain = isinstance(value, str)
    given: Table = {_PLAIN: value} if is_plain else value
    words = [word for word in BOOT_FILES if word in given]
    _check_form(given, words, place / key, findings)
    if not words:
        return None
    return BOOT_FILES[words[-1]].read(TableReader(given, place / key, findings, key, is_single=is_plain))


def check_boot(table: Table, place: Location, findings: Findings) -> None:
    """No initrd without a kernel, and no `root=` on the command line."""
    if "initrd" in table and "kernel" not in table and not place.document.is_refused_below(place.key):
        findings.add(place / "initrd", "an initrd, but no kernel", "give kernel, or leave initrd out")
    for word in table.get("cmdline", "").split():
        if word.startswith("root="):
            message = f"cmdline holds {quoted(word)}"
            findings.add(place / "cmdline", message, "leave it out: root= is added where it is needed")


def _check_form(given: Table, words: list[str], place: Location, findings: Findings) -> None:
    if len(words) > 1:
        findings.add(place, f"more than one source: {' and '.join(words)}", "leave one")
        return
    for key in dict.fromkeys(key for kind in BOOT_FILES.values() for key in kind.keys):
        takers = [word for word, kind in BOOT_FILES.items() if key in kind.keys]
        if key in given and not set(takers) & set(words) and not place.document.is_refused_below(place.key):
            fitting = " or ".join(f"'{word}'" for word in takers)
            findings.add(place / key, f"'{key}' goes with {fitting} only")
