"""Turn a tree's `root` directory into its top: for a work seed that was packed with its `root/`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NESTED = "root"


def flattened(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries with `root/NAME` as `NAME`, and the attributes of `root` as the top's; others unchanged.

    Raises:
        SourceError: while iterating: a name is both in `root` and beside it.
    """
    places: dict[str, bool] = {}
    has_top = False
    for entry in entries:
        path, is_nested = _moved(entry)
        if has_top and not entry.path:
            continue  # archives have no order: the old top may come after `root`
        has_top |= not path and entry.path == NESTED
        name = path.partition("/")[0]
        if name and places.setdefault(name, is_nested) != is_nested:
            raise SourceError(
                f"'{name}' stands both in 'root/' and beside it, and 'root/' becomes the top of a work disk",
                hint="leave one of the two out of the work_seed",
            )
        yield replace(entry, path=path, target=_moved_target(entry))


def _moved(entry: Entry) -> tuple[str, bool]:
    if entry.path == NESTED and entry.type is EntryType.DIRECTORY:
        return "", False
    if entry.path.startswith(f"{NESTED}/"):
        return entry.path.removeprefix(f"{NESTED}/"), True
    return entry.path, False


def _moved_target(entry: Entry) -> str:
    return entry.target.removeprefix(f"{NESTED}/") if entry.type is EntryType.HARD_LINK else entry.target
