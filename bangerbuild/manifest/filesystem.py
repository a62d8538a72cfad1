"""`rootfs` and `work_seed` of an image: exactly one source each, and keys that go with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, UsageError
from bangerbuild.manifest.problems import InvalidValueError
from bangerbuild.manifest.source_table import TableReader
from bangerbuild.manifest.values import existing, host_path
from bangerbuild.sources import FILESYSTEMS
from bangerbuild.sources.files import head_of

if TYPE_CHECKING:
    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.sources.source import ImageSource

IMPORT_HINT = "`bangerbuild image import --help` says what an image can be made of"


def filesystem(table: Table, place: Location, findings: Findings) -> ImageSource | None:
    """The source of a filesystem; None if there is none that could be told.

    Args:
        table: what the manifest says of it.
        place: where it does.
        findings: takes the problems.
    """
    given = [word for word in FILESYSTEMS if word in table]
    if len(given) > 1:
        findings.add(place, f"more than one source: {' and '.join(given)}", "leave one")
    elif not given:
        if not place.document.is_refused_below(place.key):
            findings.add(place, "no source", f"give one of {', '.join(FILESYSTEMS)}")
        return None
    _check_keys(table, given, place, findings)
    return FILESYSTEMS[given[0]].read(TableReader(table, place, findings, str(place.key[-1])))


def _check_keys(table: Table, given: list[str], place: Location, findings: Findings) -> None:
    """Every key beside the source's own goes with it."""
    for key in dict.fromkeys(key for kind in FILESYSTEMS.values() for key in kind.keys):
        takers = [word for word, kind in FILESYSTEMS.items() if key in kind.keys]
        if key in table and not set(takers) & set(given):
            fitting = " or ".join(f"'{word}'" for word in takers)
            findings.add(place / key, f"'{key}' goes with {fitting} only, not with '{given[0]}'")


def source_key(text: str) -> str:
    """The key that goes with a source as the command line names it, told by its looks and its content.

    Raises:
        UsageError: it is nothing that an image can be made of.
    """
    for word, kind in reversed(FILESYSTEMS.items()):
        if kind.claims(text):
            return word
    try:
        path = existing(host_path(text, Path.cwd()), "either").path
        raise head_of(path, text).refusal(text, "no image can be made of it")
    except InvalidValueError as err:
        raise UsageError(str(err), hint=IMPORT_HINT) from err
    except SourceError as err:
        raise UsageError(err.brief, hint=err.hint or IMPORT_HINT) from err
