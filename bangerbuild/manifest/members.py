"""The VMs of fleets: one merged table for all members, and what templates make of it for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from bangerbuild.manifest import form, templates
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.merge import ENTRY_KINDS, Layer, MergedVM, defaults_of, merged, own_layer
from bangerbuild.manifest.ranges import index_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.manifest.files import ManifestFile, Table
    from bangerbuild.manifest.fleets import Fleet, Member
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.manifest.toml_lines import Key

TO_LEASE, OF_NETWORK, OF_HOSTNAME, OTHERS = range(4)
"""The stages in which templates are evaluated: each knows what the stages before it have given."""
_TO_LEASE = {("image",), ("network", "name"), ("network", "address")}


class FleetTable:
    """What the members of a fleet share: the merged table, and the templates in it by stage."""

    def __init__(self, fleet: Fleet, findings: Findings) -> None:
        self.fleet = fleet
        self.findings = findings
        self.defaults = defaults_of(fleet.document)
        self.layer = Layer(fleet.place / "vm", _table_of(fleet), is_shared=True)
        self.merged = merged(merged({}, self.defaults.table), self.layer.table)
        self.names = list(fleet.names)
        self.stages: list[list[TemplatedKey]] = [[], [], [], []]
        self.entries: list[TemplatedKey] = []
        for key, text in _texts((), self.layer.table):
            template = findings.attempt(self.place(key), templates.compiled, text, None)
            if template is None:
                self._leave_out(key)
            elif key[0] in ENTRY_KINDS:
                self.entries.append(TemplatedKey(key, text, template))
            else:
                self.stages[_stage(key)].append(TemplatedKey(key, text, template))

    def _leave_out(self, key: Key) -> None:
        """Do without a text that is no template."""
        self.fleet.document.refuse(self.place(key).key)
        if key[0] in ENTRY_KINDS:
            self.layer = replace(self.layer, table=_with(self.layer.table, key[:2], None))
        else:
            self.merged = _with(self.merged, _words(key), None)

    def place(self, key: Key) -> Location:
        """Where a key of the fleet's VMs stands."""
        return Location(self.layer.place.document, (*self.layer.place.key, *key))

    def rendered(self, one: TemplatedKey, known: Mapping[str, Any]) -> Any:  # noqa: ANN401  any TOML value
        """The value that a template gives; None where it has a problem."""
        value = self.findings.attempt(self.place(one.key), partial(_checked, one), known, None)
        if value is None:
            self.layer.place.document.refuse(self.place(one.key).key)
        return value


@dataclass(frozen=True)
class TemplatedKey:
    """A text of a fleet that is a template."""

    key: Key
    text: str
    template: templates.Template


class FleetVM(MergedVM):
    """A member of a fleet."""

    def __init__(self, shared: FleetTable, member: Member, override_: Layer | None) -> None:
        layers = (shared.defaults, shared.layer, *([override_] if override_ else []))
        table = merged(shared.merged, override_.table) if override_ else shared.merged
        super().__init__(member.name, layers, table)
        self.shared = shared
        self.member = member
        self._entries: Layer = shared.layer

    @property
    @override
    def known(self) -> Mapping[str, Any]:
        return {**self.member.axes, "fleet": self.shared.names}

    @property
    @override
    def entry_layers(self) -> tuple[Layer, ...]:
        return (self._entries, *self.layers[2:])

    @override
    def render(self, stage: int, known: Mapping[str, Any]) -> None:
        for one in self.shared.stages[stage]:
            if _at(self._merged, one.key) == one.text:  # else the override has another value
                value = self.shared.rendered(one, known)
                key = one.key if value is not None else _words(one.key)
                self._merged = _with(self._merged, key, value)
        if stage == OTHERS and self.shared.entries:
            table = self.shared.layer.table
            for one in self.shared.entries:
                value = self.shared.rendered(one, known)
                table = _with(table, one.key if value is not None else one.key[:2], value)
            self._entries = Layer(self.shared.layer.place, table)


def merged_vms(
    documents: Sequence[ManifestFile], fleets: Sequence[Fleet], findings: Findings
) -> Iterator[MergedVM]:
    """Every VM: those of each file, then the members of its fleets, with what overrides them."""
    own = {name: own_layer(document, name) for document in documents for name in document.tree.get("vm", {})}
    members = {name for fleet in fleets for name in fleet.names}
    for document in documents:
        defaults = defaults_of(document)
        for name in document.tree.get("vm", {}):
            if name not in members:
                yield MergedVM(name, (defaults, own[name]))
        for fleet in fleets:
            if fleet.document is document:
                shared = FleetTable(fleet, findings)
                yield from (FleetVM(shared, member, own.get(member.name)) for member in fleet.members)


def basics(vm: MergedVM, variables: Mapping[ManifestFile, Mapping[str, Any]]) -> dict[str, Any]:
    """What templates know of a VM before anything else is known of it."""
    index = index_of(vm.name)
    return {
        "name": vm.name,
        **({} if index is None else {"index": index}),
        "vars": variables[vm.document],
        **vm.known,
    }


def _table_of(fleet: Fleet) -> Table:
    table: Table = fleet.document.tree["fleet"][fleet.name].get("vm", {})
    return table


def _texts(key: Key, value: Any) -> Iterator[tuple[Key, str]]:  # noqa: ANN401  any TOML value
    """The templates in a table; contents of files are templates of another sort."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _texts((*key, name), below)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _texts((*key, index), below)
    elif templates.is_template(value) and not (key[0] == "file" and key[-1] == "content"):
        yield key, value


def _stage(key: Key) -> int:
    if key in _TO_LEASE or key[0] == "renamed_from":
        return TO_LEASE
    if key[0] == "network":
        return OF_NETWORK
    return OF_HOSTNAME if key[0] == "hostname" else OTHERS


def _checked(one: TemplatedKey, known: Mapping[str, Any]) -> Any:  # noqa: ANN401  any TOML value
    return form.checked(one.key, one.template.render(known))


def _words(key: Key) -> Key:
    """A key path up to the first array in it."""
    return tuple(takewhile(lambda part: isinstance(part, str), key))


def _at(value: Any, key: Key) -> Any:  # noqa: ANN401  any TOML value
    """The value at a key path; None if there is none."""
    for part in key:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


def _with(value: Any, key: Key, new: Any) -> Any:  # noqa: ANN401  any TOML value
    """A table or an array with another value at a key path, None: without that key.

    What is not on the way is shared.
    """
    first, *rest = key
    copied = list(value) if isinstance(first, int) else dict(value)
    below = copied[first]  # type: ignore[index]
    if below is None:  # an entry that has another problem
        return value
    if new is None and not rest and isinstance(copied, dict):
        del copied[str(first)]
    else:
        copied[first] = _with(below, tuple(rest), new) if rest else new  # type: ignore[index]
    return copied
