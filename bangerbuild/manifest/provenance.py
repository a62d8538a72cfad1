"""Where each key of a VM comes from: defaults, a fleet, its own table, a lease, its network, or nowhere."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import exact_size
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.merge import ENTRY_KINDS
from bangerbuild.manifest.toml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import VM
    from bangerbuild.manifest.files import ManifestFile, Table
    from bangerbuild.manifest.merge import MergedVM

BUILT_IN = "built in"
_NAMES_OF_ENTRIES = {"file": "guest", "file_sync": "guest", "mount": "target", "disk": "name"}


@dataclass(frozen=True)
class KeyOrigin:
    """One key of a VM, its value, and who says it."""

    key: str
    value: Any
    """As the manifest would have it; of a file no content."""
    said_by: str
    """`defaults`, `fleet runner`, `vm`, `override`, `lease`, `network lan` or `built in`."""
    file: str | None = None
    line: int = 0

    @property
    def place(self) -> str:
        """`vm.toml:12`; empty if nobody says it."""
        return "" if self.file is None else f"{self.file}:{self.line}" if self.line else self.file


def origins(
    vm: MergedVM, built: VM, networks: Mapping[str, ManifestFile], lock_file: str
) -> tuple[KeyOrigin, ...]:
    """All keys of a VM, those that nobody gives with their defaults.

    Args:
        vm: as it was merged.
        built: the same, typed.
        networks: the files that define them, by name.
        lock_file: the path of the lock file, as it is shown.
    """
    found: dict[str, KeyOrigin] = {}
    for key, value in vm.leaves():
        found[dotted(key)] = _of_leaf(vm, key, value, lock_file)
    for name, value in _effective(built).items():
        if name not in found and value is not None:
            found[name] = _of_default(name, value, built, networks)
    entries = tuple(_entries(vm))
    return (*(found[key] for key in sorted(found, key=_rank)), *entries)


def _of_leaf(vm: MergedVM, key: tuple[str, ...], value: Any, lock_file: str) -> KeyOrigin:  # noqa: ANN401
    if lease := vm.leases.get(key):
        return KeyOrigin(dotted(key), value, "lease", lock_file, lease.line)
    place = vm.place(*key)
    return _said(dotted(key), value, place, vm)


def _said(key: str, value: Any, place: Location, vm: MergedVM) -> KeyOrigin:  # noqa: ANN401  any TOML value
    table = str(place.key[0])
    is_member = any(layer.place.key[:1] == ("fleet",) for layer in vm.layers)
    said_by = {"vm": "override" if is_member else "vm", "fleet": f"fleet {place.key[1]}"}.get(
        table, "defaults"
    )
    return KeyOrigin(key, value, said_by, str(place.document.path), place.document.line(place.key))


def _of_default(  # a value of any TOML type
    key: str,
    value: Any,  # noqa: ANN401
    built: VM,
    networks: Mapping[str, ManifestFile],
) -> KeyOrigin:
    name = built.network.name
    if name is None or key not in {"network.gateway", "network.dns"}:
        return KeyOrigin(key, value, BUILT_IN)
    document = networks[name]
    line = document.line(("network", name, key.rpartition(".")[2]))
    return KeyOrigin(key, value, f"network {name}", str(document.path), line)


def _effective(vm: VM) -> Mapping[str, Any]:
    """What holds where nobody says anything."""
    network = vm.network
    return {
        "image": vm.image,
        "hostname": vm.hostname,
        "vcpus": vm.vcpus,
        "memory": exact_size(vm.memory_bytes),
        "drop_mounts": list(vm.drop_mounts),
        "root.format": vm.root.format,
        "root.on_new_base": vm.root.on_new_base,
        "work.mount": vm.work.mount if vm.work else None,
        "network.mode": network.mode,
        "network.address": network.address,
        "network.gateway": network.gateway,
        "network.dns": list(network.dns) or None,
        "network.mac": network.mac,
        "network.tap": network.tap,
    }


def _entries(vm: MergedVM) -> Iterator[KeyOrigin]:
    """The arrays of tables, of which the last layer wins that names the same path, target or disk."""
    found: dict[tuple[str, str], KeyOrigin] = {}
    for place, table in _layers(vm):
        for kind in ENTRY_KINDS:
            for index, entry in enumerate(table.get(kind, ())):
                name = str(entry[_NAMES_OF_ENTRIES[kind]])
                said = _said(f"{kind}[{name}]", _shown(kind, entry), place / kind / index, vm)
                found[kind, name] = said
    yield from found.values()


def _layers(vm: MergedVM) -> Iterator[tuple[Location, Table]]:
    yield Location(vm.document), vm.document.tree
    yield vm.layers[0].place, vm.layers[0].table
    yield from ((layer.place, layer.table) for layer in vm.entry_layers)


def _shown(kind: str, entry: Table) -> str:
    """What is said of an entry; contents are not."""
    if kind == "file":
        content = entry.get("content", "")
        if isinstance(content, dict):  # it only says where the secret comes from
            return ", ".join(f"the secret of {key} {_words(value)}" for key, value in content.items())
        what = "a template" if entry.get("template") else f"{len(content.encode())} bytes"
        return f"{entry['host']}, {what}" if "host" in entry else what
    if kind == "file_sync":
        return str(entry["host"])
    return str(entry["size"]) if kind == "disk" else f"{entry['fstype']} of {entry['source']}"


def _words(value: str | list[str]) -> str:
    return value if isinstance(value, str) else shlex.join(value)


def _rank(key: str) -> tuple[bool, str]:
    """Plain keys first, then tables."""
    return "." in key, key
