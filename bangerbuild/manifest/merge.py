"""Merge a VM's keys over the defaults of its file, and remember the line of each key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.files import Location, ManifestFile, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY_KINDS = ("file", "file_sync", "mount", "disk")
"""Arrays of tables: appended rather than replaced, by `entries`."""


class MergedVM:
    """What a VM's table and `[defaults]` say together: tables key by key, values and lists replaced."""

    def __init__(self, document: ManifestFile, name: str) -> None:
        self.document = document
        self.name = name
        self.own = Location(document, ("vm", name))
        self._own: Table = document.tree["vm"][name]
        self._defaults: Table = document.tree.get("defaults", {})
        self._merged = _merged(self._defaults, self._own)

    def get(self, key: str, fallback: Any) -> Any:  # noqa: ANN401  the schema knows the types, Python does not
        """The value of one of the VM's keys."""
        return self._merged.get(key, fallback)

    def table(self, key: str) -> Table:
        """One of the VM's tables; empty if it is not there."""
        table: Table = self._merged.get(key, {})
        return table

    def place(self, *key: str) -> Location:
        """Where a key is said: in the VM's own table, else in the defaults."""
        if not _has(self._own, key) and _has(self._defaults, key):
            return Location(self.document, ("defaults", *key))
        return Location(self.document, (*self.own.key, *key))

    def has_own(self, key: str) -> bool:
        """Whether the VM's own table has that key."""
        return key in self._own

    def is_refused(self, *key: str) -> bool:
        """Whether the schema refused something in that table, so that a missing key proves nothing."""
        return any(self.document.is_refused_below((*level, *key)) for level in (self.own.key, ("defaults",)))


def merged_vms(document: ManifestFile) -> Iterator[MergedVM]:
    """Every VM of one file."""
    for name in document.tree.get("vm", {}):
        yield MergedVM(document, name)


def _merged(base: Table, over: Table) -> Table:
    result = {key: value for key, value in base.items() if key not in ENTRY_KINDS}
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = _merged(below, value)
        elif key not in ENTRY_KINDS:
            result[key] = value
    return result


def _has(table: Any, key: tuple[str, ...]) -> bool:  # noqa: ANN401  a value of any TOML type
    for part in key:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True
