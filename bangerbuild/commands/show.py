"""What a manifest declares: images, fleets, networks and their use; and where each key of a VM comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from bangerbuild import manifest
from bangerbuild.errors import UsageError, readable_size
from bangerbuild.leases import network_table
from bangerbuild.manifest.placing import disk_bytes
from bangerbuild.manifest.provenance import origins
from bangerbuild.neighbours import near
from bangerbuild.report.fleets import drawn_together
from bangerbuild.resolving import lockfile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.declared import VM, Manifest, Node, SharedNetwork
    from bangerbuild.manifest.files import ManifestFile
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.provenance import KeyOrigin
    from bangerbuild.model import Json
    from bangerbuild.model.request import Request

VALUE_LENGTH = 60


@dataclass(frozen=True)
class Declared:
    """A manifest, and its VMs with where their keys come from."""

    manifest: Manifest
    merged: Mapping[str, MergedVM]
    files: Sequence[ManifestFile]

    @property
    def lock_file(self) -> str:
        """The path of the lock file, as it is shown."""
        return str(lockfile.path_beside(self.manifest))

    def fleet_of(self, vm: str) -> str | None:
        """The fleet that a VM is a member of."""
        found = (name for name, members in self.manifest.fleets.items() if vm in members)
        return next(found, None)

    def origins(self, name: str) -> tuple[KeyOrigin, ...]:
        """All keys of a VM."""
        networks = {
            network: document for document in self.files for network in document.tree.get("network", {})
        }
        return origins(self.merged[name], self.manifest.vms[name], networks, self.lock_file)


def declared(request: Request) -> Declared:
    """What the manifests of a request declare.

    Raises:
        ManifestError: there are problems.
    """
    settings = manifest.Settings(request.variables, request.variable_files)
    found, merged, files = manifest.load_merged(request.manifests, store=request.store, settings=settings)
    return Declared(found, {vm.name: vm for vm in merged}, files)


def vms_of(found: Declared, word: str) -> tuple[str, ...]:
    """The names of the VMs that a word on the command line means: one, or the members of a fleet.

    Raises:
        UsageError: it means none.
    """
    table, _, name = word.rpartition(".")
    known = found.manifest.fleets if table == "fleet" else found.manifest.vms
    if table not in ("", "vm", "fleet"):
        raise UsageError(f"'{word}' is no VM", hint="`bangerbuild show` alone has images, networks and nodes")
    if name not in known:
        what = "fleet" if table == "fleet" else "VM"
        meant = near(name, known)
        raise UsageError(
            f"no {what} is called '{name}'", hint=meant or "`bangerbuild show` lists what is declared"
        )
    return tuple(found.manifest.fleets[name]) if table == "fleet" else (name,)


def vm_json(found: Declared, name: str) -> dict[str, Json]:
    """The document of `show vm.NAME --json`."""
    keys: list[Json] = [
        {"key": one.key, "value": one.value, "from": one.said_by, "file": one.file, "line": one.line or None}
        for one in found.origins(name)
    ]
    return {"format": 1, "id": f"vm.{name}", "fleet": found.fleet_of(name), "keys": keys}


def vm_lines(found: Declared, name: str) -> Iterator[str]:
    """The keys of a VM as TOML would have them, and where each comes from."""
    rows = [(one.key, _text(one.value), one.said_by, one.place) for one in found.origins(name)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    fleet = found.fleet_of(name)
    yield f"vm.{name}" + (f", of fleet {fleet}" if fleet else "")
    for key, value, said_by, place in rows:
        line = f"  {key:<{widths[0]}} = {value:<{widths[1]}}  {said_by:<{widths[2]}}  {place}"
        yield line.rstrip()


def summary_json(found: Declared) -> dict[str, Json]:
    """The document of `show --json`."""
    return {
        "format": 1,
        "store": str(found.manifest.store),
        "images": [{"name": name, "vms": len(vms)} for name, vms in _by_image(found).items()],
        "fleets": [{"name": name, "vms": list(vms)} for name, vms in found.manifest.fleets.items()],
        "networks": [_network_json(found, one) for one in found.manifest.networks.values()],
        "nodes": [_node_json(found, one) for one in found.manifest.nodes.values()],
        "vms": [_one_json(found, vm) for vm in found.manifest.vms.values()],
    }


def _one_json(found: Declared, vm: VM) -> dict[str, Json]:
    return {
        "name": vm.name,
        "image": vm.image,
        "fleet": found.fleet_of(vm.name),
        "network": vm.network.name,
        "address": vm.network.address,
    }


def summary_lines(found: Declared) -> Iterator[str]:
    """Images, fleets, networks, and how much of each is used."""
    for name, vms in _by_image(found).items():
        yield f"image.{name}: {_vms(len(vms))}"
    for name, members in found.manifest.fleets.items():
        yield f"fleet.{name}: {_vms(len(members))}" + (f" ({drawn_together(members)})" if members else "")
    for network in found.manifest.networks.values():
        use = _network_json(found, network)
        yield (
            f"network.{network.name}: {network.subnet}, {_vms(int(str(use['vms'])))}, "
            f"{use['leased']} leased, {use['free']} free"
        )
    for node in found.manifest.nodes.values():
        yield _node_line(found, node)
    in_fleets = {name for names in found.manifest.fleets.values() for name in names}
    for vm in found.manifest.vms.values():
        if vm.name not in in_fleets:
            yield f"vm.{vm.name}: image {vm.image}" + (
                f", {vm.network.address}" if vm.network.address else ""
            )


def _used(found: Declared, node: Node) -> dict[str, tuple[int | None, int]]:
    """What a node has, None where that is not limited, and what its VMs use of it."""
    there = [vm for vm in found.manifest.vms.values() if vm.node == node.name]
    disks = (disk_bytes(vm, found.manifest.images)[0] for vm in there)
    return {
        "vcpus": (node.vcpus, sum(vm.vcpus for vm in there)),
        "memory_bytes": (node.memory_bytes, sum(vm.memory_bytes for vm in there)),
        "disk_bytes": (node.disk_bytes, sum(disks)),
    }


def _node_json(found: Declared, node: Node) -> dict[str, Json]:
    """A node, who is on it, and what is left."""
    amounts = _used(found, node).items()
    return {
        "name": node.name,
        "labels": list(node.labels),
        "vms": [vm.name for vm in found.manifest.vms.values() if vm.node == node.name],
        "used": {key: used for key, (_, used) in amounts},
        "free": {key: None if has is None else has - used for key, (has, used) in amounts},
    }


def _node_line(found: Declared, node: Node) -> str:
    (cpus, used_cpus), *sizes = _used(found, node).values()
    count = sum(vm.node == node.name for vm in found.manifest.vms.values())
    told = [f"{used_cpus} of {cpus} vcpus"] if cpus is not None else []
    told += [
        f"{readable_size(used)} of {readable_size(has)} of {what}"
        for (has, used), what in zip(sizes, ("memory", "disk"), strict=True)
        if has is not None
    ]
    return ", ".join((f"node.{node.name}: {_vms(count)}", *told))


def _by_image(found: Declared) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {name: [] for name in found.manifest.images}
    for vm in found.manifest.vms.values():
        users[vm.image].append(vm.name)
    return users


def _network_json(found: Declared, network: SharedNetwork) -> dict[str, Json]:
    """Who is in a network, and how many addresses are left that could be leased."""
    joined = [vm for vm in found.manifest.vms.values() if vm.network.name == network.name]
    leased = sum(found.merged[vm.name].leased is not None for vm in joined)
    held = lockfile.read(lockfile.path_beside(found.manifest)).leases.get(network_table(network.name), {})
    taken = {str(vm.network.address).partition("/")[0] for vm in joined} | set(held.values())
    return {
        "name": network.name,
        "subnet": network.subnet,
        "vms": len(joined),
        "leased": leased,
        "unused_leases": [*sorted(set(held) - {vm.name for vm in joined})],
        "free": _free(network, taken),
    }


def _free(network: SharedNetwork, taken: set[str]) -> int:
    subnet = IPv4Network(network.subnet)
    reserved = _merged_ranges(network.reserve)
    inside = [int(IPv4Address(one)) for one in {*taken, network.gateway} if IPv4Address(one) in subnet]
    outside = sum(not any(first <= one <= last for first, last in reserved) for one in inside)
    ends = {int(subnet.network_address), int(subnet.broadcast_address)}
    hosts = subnet.num_addresses - 2
    blocked = sum(last - first + 1 - sum(first <= end <= last for end in ends) for first, last in reserved)
    return hosts - blocked - outside


def _merged_ranges(ranges: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Ranges that may overlap, as ranges that do not."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((int(IPv4Address(one)), int(IPv4Address(other))) for one, other in ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _vms(count: int) -> str:
    return f"{count} VM{'' if count == 1 else 's'}"


def _text(value: Any) -> str:  # noqa: ANN401  any TOML value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 3]}..."
