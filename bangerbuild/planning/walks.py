"""What walks of large host trees found, kept in the user's cache: a file for each tree and its rules.

A walk that starts from it looks at each entry's stat, and reads only what may have changed. What is
remembered says nothing else than what a walk would find, so a lost or damaged file costs no more than time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bangerbuild.host import remembered as files

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.survey import Survey, Walked

HEAD = b"bangerbuild walk 1 "
"""Its number changes with what a walk makes of the same tree."""
LEAST_ENTRIES = 500
"""A smaller tree is walked anew in a few hundredths of a second."""
MOST_WALKS = 16
"""How many are kept for one user: the oldest are removed."""


def remembered(top: Path, rules: TreeRules) -> Walked | None:
    """What the last walk of a tree by these rules found; None: that is not known."""
    where, key = files.directory("walks"), _key(top, rules)
    data = None if where is None else files.read(f"{where}/{files.name(key)}")
    kept = None if data is None else files.loaded(HEAD, data)
    if kept is None or kept[0] != key:
        return None
    found: Walked = kept[1]
    return found


def remember(top: Path, rules: TreeRules, found: Survey) -> None:
    """Keep what was found, if that saves time; where nothing can be kept, nothing is."""
    where, key = files.directory("walks"), _key(top, rules)
    if where is None or not found.is_news or len(found) < LEAST_ENTRIES:
        return
    with contextlib.suppress(OSError):
        files.keep(where, files.name(key), files.dumped(HEAD, (key, found.walked())), MOST_WALKS)


def _key(top: Path, rules: TreeRules) -> tuple[str, str]:
    return str(top.absolute()), repr(rules)
