"""On which node each VM is: what it names, what it was leased, else where there is room.

Pure: what is leased anew is written by whoever applies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild import packing
from bangerbuild.disk import formats
from bangerbuild.errors import few, readable_size
from bangerbuild.leases import PLACEMENT, Lease
from bangerbuild.manifest.merge import NODE
from bangerbuild.manifest.nodes import Wishes, are_known, names, where_capacity_is
from bangerbuild.packing import UNLIMITED, Amounts, Capacity, Demand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.declared import VM, Image, Node
    from bangerbuild.manifest.files import ManifestFile
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.nodes import Wish
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.sources.source import ImageSource

_MOST_SHOWN = 4
"""As many VMs, or nodes, are told of with their amounts."""
_KEYS = "vcpus", "memory", "disk"
"""What a node gives, in the order of `Amounts`."""


class Placed(NamedTuple):
    """Where the VMs are, and what is to become of the lock file."""

    vms: list[tuple[MergedVM, VM]]
    given: dict[str, str]
    """What is leased anew, by VM."""
    released: tuple[str, ...] = ()
    """VMs whose leases end."""
    moved: Mapping[str, str] = {}
    """VMs that were leased another node, with that one."""


@dataclass(frozen=True)
class Inventory:
    """What VMs are placed on, and how."""

    nodes: Mapping[str, Node]
    images: Mapping[str, Image]
    documents: Sequence[ManifestFile]
    held: Mapping[str, Lease]
    """What the lock file has, by VM."""
    is_rebalanced: bool = False
    """Whether that counts for nothing."""


def place(pairs: Sequence[tuple[MergedVM, VM]], inventory: Inventory, findings: Findings) -> Placed:
    """Place every VM on a node.

    Args:
        pairs: all VMs; those that are leased a node are told.
        inventory: the nodes.
        findings: takes the problems.
    """
    wishes = Wishes(inventory.nodes, names(inventory.documents), findings)
    wanted = [(merged, vm, wishes.of(merged)) for merged, vm in pairs]
    if not inventory.nodes or not are_known(inventory.documents):
        return Placed(list(pairs), {})
    sizes = _Sizes(inventory.images)
    leased = _Leased(inventory.held)
    demands = [
        _demand(vm, wish, sizes, None if inventory.is_rebalanced else leased.node_of(merged))
        for merged, vm, wish in wanted
        if wish
    ]
    packed = packing.pack(map(_capacity, inventory.nodes.values()), demands)
    _Shortage(inventory, {merged.name: merged for merged, _ in pairs}, demands, packed, findings).tell()
    _warn_of_unknown(sizes.unknown, inventory.nodes, findings)
    placed = [(merged, replace(vm, node=packed.places.get(vm.name))) for merged, vm in pairs]
    for merged, vm, wish in wanted:
        if vm.name in packed.places:
            leased.settle(merged, packed.places[vm.name], is_pinned=bool(wish and wish.pinned))
    return Placed(placed, leased.given, tuple(leased.released), leased.moved)


def disk_bytes(vm: VM, images: Mapping[str, Image]) -> tuple[int, bool]:
    """How large the disks of a VM may grow together, and whether that is all of them."""
    image = images.get(vm.image)
    rule = formats.named(vm.root.format).size
    sizes = [vm.root.size_bytes or rule.default_bytes or _known(image.rootfs if image else None, images)]
    if vm.work:
        sizes.append(vm.work.size_bytes or _known(image.work_seed if image else None, images))
    sizes += [disk.size_bytes for disk in vm.disks]
    return sum(size for size in sizes if size), None not in sizes


def _known(source: ImageSource | None, images: Mapping[str, Image]) -> int | None:
    """The size of what is made of a source, which may start from another image; None: it is not known."""
    for _ in images:
        base = images.get(source.based_on or "") if source else None
        if source is None or source.known_bytes is not None or base is None:
            break
        source = base.rootfs
    return source.known_bytes if source else None


@dataclass
class _Sizes:
    """How large the disks of VMs are; alike ones are looked at once."""

    images: Mapping[str, Image]
    unknown: list[str] = field(default_factory=list)
    """The VMs that have a disk of which that can't be told."""

    def of(self, vm: VM) -> int:
        size_bytes, is_all = disk_bytes(vm, self.images)
        if not is_all:
            self.unknown.append(vm.name)
        return size_bytes


@dataclass
class _Leased:
    """What the lock file has of the VMs, and what is to become of it."""

    held: Mapping[str, Lease]
    given: dict[str, str] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)

    def of(self, vm: MergedVM) -> Lease | None:
        """The lease of a VM, else the one that it has under a name of before."""
        return next((self.held[name] for name in (vm.name, *vm.renamed_from) if name in self.held), None)

    def node_of(self, vm: MergedVM) -> str | None:
        """The node that it was leased."""
        lease = self.of(vm)
        return lease.value if lease else None

    def settle(self, vm: MergedVM, node: str, *, is_pinned: bool) -> None:
        """Take down where a VM is now."""
        before = self.of(vm)
        if before and before.value != node:
            self.moved[vm.name] = before.value
        if before and (is_pinned or before.name != vm.name):
            self.released.append(before.name)
        if is_pinned:
            return
        if before and before.name == vm.name and before.value == node:
            vm.lease(before, *NODE)
            return
        self.given[vm.name] = node
        vm.lease(Lease(PLACEMENT, vm.name, node, 0), *NODE)


def _capacity(node: Node) -> Capacity:
    given = (node.vcpus, node.memory_bytes, node.disk_bytes)
    return Capacity(node.name, Amounts(*(UNLIMITED if one is None else one for one in given)))


def _demand(vm: VM, wish: Wish, sizes: _Sizes, held: str | None) -> Demand:
    amounts = Amounts(vm.vcpus, vm.memory_bytes, sizes.of(vm))
    return Demand(vm.name, amounts, wish.nodes, wish.pinned, held)


def _warn_of_unknown(vms: Sequence[str], nodes: Mapping[str, Node], findings: Findings) -> None:
    if vms and any(node.disk_bytes is not None for node in nodes.values()):
        whose = few([f"vm.{name}" for name in vms], "VMs")
        findings.warnings.append(
            f"a disk of {whose} counts as nothing on its node: "
            "its size is only known once the image is built; give root.size, or the image's size"
        )


@dataclass
class _Shortage:
    """Says which VMs there is no room for, what they need, and what is free."""

    inventory: Inventory
    merged: Mapping[str, MergedVM]
    demands: Sequence[Demand]
    packed: packing.Packed
    findings: Findings

    def tell(self) -> None:
        """Add the problems, if there are any."""
        for name in self.inventory.nodes:
            self._tell_of_pinned(name)
        if self.packed.homeless:
            self._tell_of_homeless(self.packed.homeless)

    def _tell_of_pinned(self, name: str) -> None:
        """VMs that name a node which is too small for them."""
        short = [key for key, free in zip(_KEYS, self.packed.free[name], strict=True) if free < 0]
        if not short:
            return
        pinned = [one for one in self.demands if one.pinned == name]
        total = Amounts(*(sum(amounts) for amounts in zip(*(one.amounts for one in pinned), strict=True)))
        who = few([f"vm.{one.name}" for one in sorted(pinned, key=lambda one: one.name)], "VMs")
        message = (
            f"node '{name}' has {_amounts(_capacity(self.inventory.nodes[name]).amounts)}, "
            f"and the VMs that name it need {_amounts(total)}: {who}"
        )
        place = where_capacity_is(name, short[0], self.inventory.documents)
        self.findings.add(place, message, "give one of them another node, or none")

    def _tell_of_homeless(self, homeless: Sequence[Demand]) -> None:
        told = [f"vm.{one.name} (needs {_amounts(one.amounts)})" for one in homeless[:_MOST_SHOWN]]
        more = f" and {len(homeless) - len(told)} more VMs" if homeless[_MOST_SHOWN:] else ""
        asked = [name for name in self.packed.free if any(name in one.nodes for one in homeless)]
        free = "; ".join(f"on {name} {_amounts(self.packed.free[name])}" for name in asked[:_MOST_SHOWN])
        rest = f"; and {len(asked) - _MOST_SHOWN} more nodes" if asked[_MOST_SHOWN:] else ""
        message = f"no node has room for {', '.join(told)}{more}; free are {free}{rest}"
        first = self.merged[homeless[0].name]
        self.findings.add(first.own, message, self._way_out())

    def _way_out(self) -> str:
        hint = "give a node more, or add one"
        if any(one.held for one in self.demands) and not self._would_be_short():
            hint += "; or place all VMs anew, which moves some: bangerbuild lock --rebalance"
        return hint

    def _would_be_short(self) -> bool:
        anew = [replace(one, held=None) for one in self.demands]
        return bool(packing.pack(map(_capacity, self.inventory.nodes.values()), anew).homeless)


def _amounts(amounts: Amounts) -> str:
    return ", ".join(_words(amounts))


def _words(amounts: Amounts) -> Iterator[str]:
    """Amounts in a message; what is not limited is left out."""
    if amounts.vcpus != UNLIMITED:
        yield f"{max(amounts.vcpus, 0):.0f} vcpus"
    if amounts.memory_bytes != UNLIMITED:
        yield f"{readable_size(max(int(amounts.memory_bytes), 0))} of memory"
    if amounts.disk_bytes != UNLIMITED:
        yield f"{readable_size(max(int(amounts.disk_bytes), 0))} of disk"
    if set(amounts) == {UNLIMITED}:
        yield "all that is needed"
