"""Merge a VM's keys over the defaults of its file, and remember where each key is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.files import Location, ManifestFile, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.leases import Lease

ENTRY_KINDS = ("file", "file_sync", "mount", "disk")
"""Arrays of tables: appended rather than replaced, by `entries`."""
ADDRESS = "network", "address"
NODE = ("node",)


@dataclass(frozen=True)
class Layer:
    """One table of a VM's keys, and where it stands: the defaults, a fleet's, the VM's own."""

    place: Location
    table: Table
    is_shared: bool = False
    """Whether several VMs have this very table."""


class MergedVM:
    """What the layers of a VM say together: tables key by key, values and lists replaced.

    Args:
        name: of the VM.
        layers: the first is that of the defaults, and each wins over those before it.
        merged: what they say together; None: it is made here.
    """

    def __init__(self, name: str, layers: tuple[Layer, ...], merged: Table | None = None) -> None:
        self.name = name
        self.layers = layers
        self.leases: dict[tuple[str, ...], Lease] = {}
        """By key: the line of the lock file that a value comes from; of line 0 if it is new."""
        self._merged = _of_layers(layers) if merged is None else merged

    @property
    def document(self) -> ManifestFile:
        """The file whose defaults and entries it has."""
        return self.layers[0].place.document

    @property
    def own(self) -> Location:
        """Where a key would have to be added."""
        return self.layers[-1].place

    @property
    def known(self) -> Mapping[str, Any]:
        """What templates know of it beside what every VM has."""
        return {}

    @property
    def entry_layers(self) -> tuple[Layer, ...]:
        """The layers above the defaults, with their arrays of tables."""
        return self.layers[1:]

    def render(self, stage: int, known: Mapping[str, Any]) -> None:
        """Evaluate the templates of a stage; a VM of no fleet has none."""

    @property
    def leased(self) -> Lease | None:
        """The lease of its address; None: it has none, or gives one itself."""
        return self.leases.get(ADDRESS)

    def lease(self, lease: Lease, *key: str) -> None:
        """Take what it was leased as the value of a key."""
        self.leases[key] = lease
        value: Any = lease.value
        for depth in range(len(key) - 1, 0, -1):
            value = {**_at(self._merged, key[:depth]), key[depth]: value}
        self._merged = {**self._merged, key[0]: value}

    def get(self, key: str, fallback: Any) -> Any:  # noqa: ANN401  the schema knows the types, Python does not
        """The value of one of the VM's keys."""
        return self._merged.get(key, fallback)

    @property
    def renamed_from(self) -> tuple[str, ...]:
        """What the VM was called before."""
        given: str | list[str] = self.get("renamed_from", ())
        return (given,) if isinstance(given, str) else tuple(given)

    def table(self, key: str) -> Table:
        """One of the VM's tables; empty if it is not there."""
        table: Table = self._merged.get(key, {})
        return table

    def place(self, *key: str) -> Location:
        """Where a key is said: in the last layer that has it; in the VM's own table if none has."""
        for layer in reversed(self.layers):
            if has(layer.table, key):
                return Location(layer.place.document, (*layer.place.key, *key))
        return Location(self.own.document, (*self.own.key, *key))

    def has_own(self, key: str) -> bool:
        """Whether a layer above the defaults has that key."""
        return any(key in layer.table for layer in self.layers[1:])

    def is_refused(self, *key: str) -> bool:
        """Whether the schema refused something in that table, so that a missing key proves nothing."""
        return any(layer.place.document.is_refused_below((*layer.place.key, *key)) for layer in self.layers)

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Every key that is no table, with its value; without arrays of tables."""
        yield from _leaves((), self._merged)


def defaults_of(document: ManifestFile) -> Layer:
    """The defaults of a file."""
    return Layer(Location(document, ("defaults",)), document.tree.get("defaults", {}))


def own_layer(document: ManifestFile, name: str) -> Layer:
    """A VM's own table."""
    return Layer(Location(document, ("vm", name)), document.tree["vm"][name])


def merged(base: Table, over: Table) -> Table:
    """One table merged over another, both left as they are; without arrays of tables."""
    result = {key: value for key, value in base.items() if key not in ENTRY_KINDS}
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = merged(below, value)
        elif key not in ENTRY_KINDS:
            result[key] = value
    return result


def has(table: Any, key: tuple[str | int, ...]) -> bool:  # noqa: ANN401  a value of any TOML type
    """Whether a key path is in a table."""
    for part in key:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _at(table: Table, key: tuple[str, ...]) -> Table:
    """The table at a key path; empty if there is none."""
    for part in key:
        table = table.get(part, {})
    return table


def _of_layers(layers: tuple[Layer, ...]) -> Table:
    result: Table = {}
    for layer in layers:
        result = merged(result, layer.table)
    return result


def _leaves(key: tuple[str, ...], table: Table) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _leaves((*key, name), value)
        else:
            yield (*key, name), value
