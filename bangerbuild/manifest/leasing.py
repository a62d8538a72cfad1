"""Which address a VM of a network gets that gives none: the one that it was leased, else the lowest free one.

Pure: what is given anew is written by whoever applies.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.errors import Problem
from bangerbuild.leases import Lease, another_hint, network_table, release_hint
from bangerbuild.manifest.addresses import end_of
from bangerbuild.manifest.merge import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.declared import SharedNetwork
    from bangerbuild.leases import Leases
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.problems import Findings

_MOST_SHOWN = 8
"""As many names are listed of what could be released."""


class Leased(NamedTuple):
    """What is to become of the lock file."""

    given: dict[str, dict[str, str]]
    """What is given anew, by table of the lock file and VM."""
    released: dict[str, tuple[str, ...]]
    """VMs whose leases end, as others have taken them over, by table."""


def lease(
    vms: Sequence[MergedVM], networks: Mapping[str, SharedNetwork], leases: Leases, findings: Findings
) -> Leased:
    """Give every VM its address that joins a network and gives none.

    Args:
        vms: all VMs; those that get an address are told.
        networks: by name, those without problems.
        leases: what the lock file holds.
        findings: takes the problems.

    Returns:
        What the lock file does not hold yet.
    """
    said = _Said(vms)
    given, released = {}, {}
    held = leases.by_table()
    for network in networks.values():
        joined = [vm for vm in vms if vm.table("network").get("name") == network.name]
        table = network_table(network.name)
        one = _Leasing(network, held.get(table, {}), said, leases, findings)
        one.release(vm for vm in joined if "address" in vm.table("network"))
        given[table] = one.run([vm for vm in joined if "address" not in vm.table("network")])
        released[table] = tuple(one.released)
    return Leased(
        {table: new for table, new in given.items() if new},
        {table: names for table, names in released.items() if names},
    )


class _Said:
    """The addresses that VMs give themselves."""

    def __init__(self, vms: Iterable[MergedVM]) -> None:
        self.vms: dict[int, MergedVM] = {}
        for vm in vms:
            number = _number(vm.table("network").get("address"))
            if number is not None:
                self.vms.setdefault(number, vm)


@dataclass
class _Leasing:
    network: SharedNetwork
    held: Mapping[str, Lease]
    said: _Said
    leases: Leases
    """All that the lock file holds."""
    findings: Findings
    given: dict[str, str] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    """VMs of before, whose addresses others have taken over."""
    unfit: dict[str, list[Lease]] = field(default_factory=dict)
    """Leases that may not be used any more, by what is wrong with them."""
    reserved: list[Lease] = field(default_factory=list)
    """Leases of what was reserved later."""

    def run(self, vms: Sequence[MergedVM]) -> dict[str, str]:
        """Lease to these VMs, which join the network and give no address."""
        new = []
        for vm in vms:
            lease = self.held.get(vm.name) or self._taken_over(vm)
            if lease is None:
                new.append(vm)
            elif self._check(lease):
                vm.lease(lease, *ADDRESS)
        self._tell_unfit()
        self._check_said({vm.name for vm in vms})
        free = self._free()
        for index, vm in enumerate(new):
            number = next(free, None)
            if number is None:
                self._tell_full(new[index:], {vm.name for vm in vms})
                break
            self.given[vm.name] = str(IPv4Address(number))
            vm.lease(Lease(network_table(self.network.name), vm.name, self.given[vm.name], 0), *ADDRESS)
        return self.given

    def release(self, vms: Iterable[MergedVM]) -> None:
        """Release what these VMs, which give their addresses themselves, were leased under other names."""
        self.released += [name for vm in vms for name in vm.renamed_from if name in self.held]

    def _taken_over(self, vm: MergedVM) -> Lease | None:
        """The lease of the VM under a name that it had before."""
        before = next((held for name in vm.renamed_from if (held := self.held.get(name))), None)
        if before is None or not self._check(before):
            return None
        self.released.append(before.name)
        self.given[vm.name] = before.value
        return replace(before, name=vm.name)

    def _free(self) -> Iterator[int]:
        """The addresses that nobody has, the lowest first."""
        subnet = self._subnet
        taken = self.said.vms.keys() | {int(IPv4Address(lease.value)) for lease in self.held.values()}
        taken |= {int(IPv4Address(self.network.gateway))}
        number, end = int(subnet.network_address) + 1, int(subnet.broadcast_address)
        for first, last in [*self._reserved, (end, end)]:
            for free in range(number, min(first, end)):
                if free not in taken:
                    yield free
            number = max(number, last + 1)

    @cached_property
    def _subnet(self) -> IPv4Network:
        return IPv4Network(self.network.subnet)

    @cached_property
    def _reserved(self) -> list[tuple[int, int]]:
        """The first and the last address of each reserved range, in order."""
        return sorted((int(IPv4Address(one)), int(IPv4Address(last))) for one, last in self.network.reserve)

    def _check(self, lease: Lease) -> bool:
        """Whether an address that was leased may still be used."""
        address = IPv4Address(lease.value)
        fault = None
        if address not in self._subnet:
            fault = f"which is not in {self._subnet}, the subnet of network '{self.network.name}'"
        elif lease.value == self.network.gateway:
            fault = f"the gateway of network '{self.network.name}'"
        else:
            fault = end_of(address, self._subnet)
        if fault:
            self.unfit.setdefault(fault, []).append(lease)
        elif any(first <= int(address) <= last for first, last in self._reserved):
            self.reserved.append(lease)
        return not fault

    def _tell_unfit(self) -> None:
        """One problem for all leases with the same fault, and one warning for those of reserved addresses."""
        path = str(self.leases.path)
        for fault, unfit in self.unfit.items():
            message = _told(unfit, fault)
            hint = another_hint(self._words(unfit), len(unfit))
            self.findings.problems.append(Problem(path, unfit[0].line, unfit[0].key, message, hint))
        if self.reserved:
            fault = f"which network '{self.network.name}' reserves"
            where = f"{path}:{self.reserved[0].line}"
            hint = another_hint(self._words(self.reserved), len(self.reserved))
            self.findings.warnings.append(f"{where}: {_told(self.reserved, fault)}; {hint}")

    def _words(self, leases: Sequence[Lease]) -> list[str]:
        """What `lock --release` takes for these."""
        if 1 < len(leases) == len(self.held):
            return [leases[0].table]
        return [self.leases.word(lease) for lease in leases]

    def _check_said(self, leased: Collection[str]) -> None:
        """Finds an address that one VM gives itself, and that another one was leased."""
        for lease in self.held.values():
            vm = self.said.vms.get(int(IPv4Address(lease.value)))
            is_others = vm is not None and vm.name != lease.name and lease.name not in self.released
            if vm is not None and is_others and _joins(vm, self.network):
                whose = (
                    f"'{lease.name}'"
                    if lease.name in leased
                    else f"'{lease.name}', which is not declared here,"
                )
                message = f"address is '{lease.value}', and {whose} has it in {self.leases.path}:{lease.line}"
                hint = f"give another one; or free it: {release_hint([self.leases.word(lease)])}"
                self.findings.add(vm.place("network", "address"), message, hint)

    def _tell_full(self, left: Sequence[MergedVM], joined: Collection[str]) -> None:
        """There is no address for these VMs."""
        unused = [self.held[name] for name in sorted(self.held) if name not in joined]
        message = (
            f"network '{self.network.name}' ({self.network.subnet}) has no address left for {_few(left)}"
        )
        hint = "give it a larger subnet, or reserve less of it"
        if unused:
            words = [self.leases.word(lease) for lease in unused[:_MOST_SHOWN]]
            some = f"{_MOST_SHOWN} of the {len(unused)}" if len(unused) > _MOST_SHOWN else "those"
            hint += f"; or free {some} that no VM here uses: {release_hint(words)}"
        self.findings.add(left[0].place("network", "name"), message, hint)


def _joins(vm: MergedVM, network: SharedNetwork) -> bool:
    address = _number(vm.table("network").get("address"))
    return address is not None and IPv4Address(address) in IPv4Network(network.subnet)


def _told(leases: Sequence[Lease], fault: str) -> str:
    """What is wrong with leases, by the first of them."""
    message = f"'{leases[0].name}' has the address '{leases[0].value}', {fault}"
    return message if len(leases) == 1 else f"{message}, and {len(leases) - 1} more like it"


def _few(vms: Sequence[MergedVM]) -> str:
    first = f"vm.{vms[0].name}"
    return first if len(vms) == 1 else f"{first} and {len(vms) - 1} more"


def _number(text: object) -> int | None:
    """An address as a number; None if it is none, which is told elsewhere."""
    try:
        return int(IPv4Address(str(text).partition("/")[0]))
    except ValueError:
        return None
