"""What is executed to start a VM: VMM and network are chosen, and what would fail is told first."""

from __future__ import annotations

import errno
import shlex
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import ToolError, UsageError
from bangerbuild.host import search
from bangerbuild.launch.session import FREE_PORT, Session
from bangerbuild.launch.vmms import PREFERRED, VMMS
from bangerbuild.running import kvm, taps
from bangerbuild.running.spawning import LOOPBACK, Start

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.launch.machine import Boot, Machine
    from bangerbuild.launch.session import NetworkKind
    from bangerbuild.launch.vmms import Vmm

SSH_PORT = 22
MOST_PORT = 65535


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    vmm: str | None = None
    network: NetworkKind | None = None
    forwards: tuple[tuple[int, int], ...] = ()
    """Ports of the loopback, and the guest's that they lead to."""
    attached: bool = False
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """What is executed."""

    start: Start
    notes: tuple[str, ...]
    """What the user should know of it."""


def forward(text: str) -> tuple[int, int]:
    """`HOSTPORT:GUESTPORT` as numbers.

    Raises:
        ValueError: it is nothing like that.
    """
    host, colon, guest = text.partition(":")
    return _port(host), _port(guest) if colon else _port("")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= MOST_PORT):
        raise ValueError(f"a port is a number from 1 to {MOST_PORT}")
    return int(text)


class Kvm:
    """Whether KVM works, found out when it is first asked."""

    def __init__(self) -> None:
        self.found: str | None = None

    @property
    def trouble(self) -> str:
        """Why it can't be used; empty: it can."""
        if self.found is None:
            self.found = kvm.trouble(cache=kvm.cache_path())
        return self.found


def plan(
    machine: Machine, image: str, wish: Wish, taken: Mapping[int, str], up: Path | None = None
) -> Planned:
    """What is executed to start a VM.

    Args:
        machine: the VM.
        image: the name of its image.
        wish: what is asked for.
        taken: ports of the loopback that are other VMs', with their names.
        up: the script that makes the VM's tap device; None: the user makes it.

    Raises:
        UsageError: the VM has no kernel, or the wish can't be granted for any host.
        ToolError: the VMM is not installed.
    """
    boot = machine.boot
    if boot is None:
        raise UsageError(f"'{machine.name}' has no kernel to start with", hint=KERNEL_HINT)
    working = Kvm()
    vmm, program = _vmm(machine, wish, working)
    network, notes = _network(machine.name, boot, vmm, wish, up)
    _check_ports(wish, taken)
    forwards = _forwards(wish, network)
    session = Session(
        kvm=not working.trouble,
        network=network,
        forwards=forwards,
        attached=wish.attached,
        arguments=wish.arguments,
    )
    start = Start(
        vm=machine.name,
        vmm=vmm.name,
        program=program,
        argv=[vmm.program, *(word for option in vmm.arguments(machine, boot, session) for word in option)],
        files=dict(vmm.files(machine, boot, session)),
        console=vmm.console,
        attached=wish.attached,
        ssh=_ssh(boot, network, forwards),
        ports=[host for host, _ in wish.forwards],
        root=machine.root.drives[-1].path,
        image=image if boot.card.address else "",
    )
    notes = (*_kvm_notes(vmm, working), *notes)
    return Planned(start, notes)


def refuse(name: str, wish: Wish, taken: Mapping[int, str]) -> None:
    """Refuse what no VM could be started with here; nothing has to be built to tell.

    Args:
        name: the VM's.
        wish: what is asked for.
        taken: see `plan`.

    Raises:
        UsageError: the wish can't be granted on any host.
        ToolError: the VMM is not installed, or none is; a port is taken.
    """
    _refuse_forwards(wish)
    _check_ports(wish, taken)
    if wish.vmm is not None:
        named = next(vmm for vmm in VMMS if vmm.name == wish.vmm)
        if unfit := _without_network(named, wish):
            raise UsageError(f"{named.label} can't start '{name}': {unfit}")
        _program(named)
    elif not any(search.which(vmm.program) for vmm in VMMS):
        raise _nothing_can(name, [f"{vmm.label}: '{vmm.program}' is not installed" for vmm in PREFERRED])


def _refuse_forwards(wish: Wish) -> None:
    if wish.forwards and wish.network not in {None, "user"}:
        raise UsageError("--forward is of the user network", hint="--net user, or without --forward")


KERNEL_HINT = 'give its image a kernel: kernel = { guest = "/boot/vmlinuz-*" }, or a path'


def _vmm(machine: Machine, wish: Wish, working: Kvm) -> tuple[Vmm, str]:
    """The VMM, and the path of its program."""
    if wish.vmm is not None:
        named = next(vmm for vmm in VMMS if vmm.name == wish.vmm)
        if unfit := _unfit(named, machine, wish):
            raise UsageError(f"{named.label} can't start '{machine.name}': {unfit}")
        return named, _program(named)
    reasons = []
    for vmm in PREFERRED:
        unfit = _unfit(vmm, machine, wish) or (working.trouble if vmm.needs_kvm else "")
        if not unfit:
            try:
                return vmm, _program(vmm)
            except ToolError as err:
                unfit = err.brief
        reasons.append(f"{vmm.label}: {unfit}")
    raise _nothing_can(machine.name, reasons)


def _nothing_can(name: str, reasons: Sequence[str]) -> ToolError:
    return ToolError(
        f"nothing here can start '{name}'", details="\n".join(reasons), hint="apt install qemu-system-x86"
    )


def _unfit(vmm: Vmm, machine: Machine, wish: Wish) -> str:
    """Why a VMM is out of the question; empty: it is not."""
    return _without_network(vmm, wish) or machine.root.refusals.get(vmm.name, "")


def _without_network(vmm: Vmm, wish: Wish) -> str:
    network = "user" if wish.forwards else wish.network
    return f"it has no network '{network}'" if network and network not in vmm.networks else ""


def _program(vmm: Vmm) -> str:
    path = search.which(vmm.program)
    if path is None:
        hint = (
            f"apt install {vmm.package}"
            if vmm.package
            else f"its releases have it: put {vmm.program} in PATH"
        )
        raise ToolError(f"'{vmm.program}' is not installed", hint=hint)
    return path


def _kvm_notes(vmm: Vmm, working: Kvm) -> Iterator[str]:
    if working.trouble:
        what = "which it can't do without" if vmm.needs_kvm else "which emulates (TCG), slowly"
        yield f"KVM does not work here ({working.trouble}); {vmm.label} is started, {what}"


def _network(
    name: str, boot: Boot, vmm: Vmm, wish: Wish, up: Path | None
) -> tuple[NetworkKind, tuple[str, ...]]:
    """The network, and what the user should know of it."""
    _refuse_forwards(wish)
    if wish.forwards or wish.network == "user":
        return "user", ()
    if wish.network == "none":
        return "none", ()
    tap = boot.card.tap
    trouble = taps.trouble(tap) if tap else "it declares no address, and so has no tap device"
    if tap and not trouble:
        return "tap", ()
    if wish.network == "tap":
        raise ToolError(f"'{name}' can't have its tap device: {trouble}", hint=_tap_hint(tap, up))
    if "user" in vmm.networks:
        return "user", ()
    return "none", (f"'{name}' has no network: {trouble}, and {vmm.label} has no other",)


def _tap_hint(tap: str | None, up: Path | None) -> str:
    if not tap:
        return "--net user"
    by_hand = f"sudo ip tuntap add {tap} mode tap user $USER; sudo ip link set {tap} up"
    if up is None:
        return by_hand
    made = "" if up.exists() else f"bangerbuild apply --target network.{up.parent.name}, then "
    return f"{made}sudo {shlex.quote(str(up))}"


def _forwards(wish: Wish, network: NetworkKind) -> tuple[tuple[str, int], ...]:
    """Of the user network; a port of our own leads to sshd unless one was given."""
    given = tuple((str(host), guest) for host, guest in wish.forwards)
    if network != "user":
        return ()
    return given if any(guest == SSH_PORT for _, guest in given) else ((FREE_PORT, SSH_PORT), *given)


def _ssh(boot: Boot, network: NetworkKind, forwards: tuple[tuple[str, int], ...]) -> str:
    if network == "tap" and boot.card.address:
        return f"{boot.card.address.partition('/')[0]}:{SSH_PORT}"
    return next((f"{LOOPBACK}:{host}" for host, guest in forwards if guest == SSH_PORT), "")


def _check_ports(wish: Wish, taken: Mapping[int, str]) -> None:
    seen: set[int] = set()
    for host, _ in wish.forwards:
        if host in seen:
            raise UsageError(f"--forward names port {host} twice")
        seen.add(host)
        if host in taken:
            raise ToolError(
                f"port {host} of this host leads to '{taken[host]}' already",
                hint=f"--forward with another port, or: bangerbuild stop {taken[host]}",
            )
        _check_port(host)


def _check_port(port: int) -> None:
    """Whether a VMM can listen on it; QEMU itself has the last word."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
            one.listen(1)
        except OSError as err:
            why = (
                "is taken"
                if err.errno == errno.EADDRINUSE
                else f"can't be used: {(err.strerror or '').lower()}"
            )
            raise ToolError(f"port {port} of this host {why}", hint="--forward with another port") from err
