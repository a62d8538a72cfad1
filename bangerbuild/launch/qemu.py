"""A q35 machine of QEMU, with KVM where it can be used, else TCG; as `qemu.sh`, and as `boot` starts it.

q35 and not microvm: distribution kernels find its PCI devices with the modules they have in every initrd.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from itertools import chain
from shlex import quote
from typing import TYPE_CHECKING

from bangerbuild.launch import cmdline, shell
from bangerbuild.launch.session import API_SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.launch.machine import Boot, Card, Machine
    from bangerbuild.launch.session import Session

NAME = "qemu"
"""As formats of disks name it."""
PROGRAM = "qemu-system-x86_64"

COMMENT = """\
Starts the VM {name} under QEMU, with KVM where it can be used. The serial console is on this terminal:
Ctrl-A X ends QEMU. Arguments are passed on to it, such as -machine accel=tcg, to do without KVM; paths
among them are relative to this directory.

BANGERBUILD_NET chooses the network:
{tap}  user   QEMU's own, which needs no device on the host; options of -netdev user may follow, such as
         user,hostfwd=tcp:127.0.0.1:2222-:22
  none   no network card{default}
"""

TAP_COMMENT = "  tap    the tap device {tap} (default)\n"

TAP_CASE = """\
tap)
    if ! [ -e {device} ]; then
        echo "qemu.sh: there is no tap device {tap}; BANGERBUILD_NET=user does without" >&2
    fi
    set -- -netdev {netdev} "$@"
    ;;
"""

NETWORK = """\

net=${{BANGERBUILD_NET:-{default}}}
case $net in
{tap_case}user | user,*)
    set -- -netdev {user}"${{net#user}}" "$@"
    ;;
none) ;;
*)
    echo "qemu.sh: BANGERBUILD_NET is '$net', and not one of {choices}" >&2
    exit 3
    ;;
esac
if [ "$net" != none ]; then
    set -- -device {device} "$@"
fi
"""

CONSOLE = ("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console")

WIDEST_PREFIX = 24
"""The user-mode network has a host and a name server besides the guest: there is room for them here."""


def script(machine: Machine, boot: Boot) -> str:
    """The file's text."""
    parts = (
        shell.head(_comment(machine.name, boot.card)),
        shell.WHOLE,
        shell.attached_check(machine),
        _network(boot.card),
        "\n",
        shell.command(PROGRAM, _options(machine, boot, "kvm:tcg", ("-serial", "mon:stdio"))),
    )
    return "".join(parts)


def arguments(machine: Machine, boot: Boot, session: Session) -> Iterator[tuple[str, ...]]:
    """Those of the same machine as `boot` starts it: its monitor is a socket, its console not a terminal.

    So the log of the console is QEMU's own standard output. One that QEMU would write beside a socket has
    bytes twice where the reader of the socket is slow.
    """
    accel = "kvm:tcg" if session.kvm else "tcg"
    yield from _options(machine, boot, accel, CONSOLE)
    yield "-qmp", f"unix:{API_SOCKET},server=on,wait=off"
    if session.network != "none":
        yield "-device", _device(boot.card)
        yield "-netdev", _tap(boot.card.tap) if session.network == "tap" else _user(boot.card, session)
    yield session.arguments


def _user(card: Card, session: Session) -> str:
    forwards = (f",hostfwd=tcp:127.0.0.1:{host}-:{guest}" for host, guest in session.forwards)
    return f"user,id=net0{user_network(card)}{''.join(forwards)}"


def _device(card: Card) -> str:
    return f"virtio-net-pci,netdev=net0,mac={card.mac},romfile="


def _tap(tap: str | None) -> str:
    return f"tap,id=net0,ifname={tap},script=no,downscript=no"


def _options(machine: Machine, boot: Boot, accel: str, serial: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield "-name", machine.name
    yield "-machine", f"q35,accel={accel}"
    yield "-cpu", "max"
    yield "-smp", str(boot.vcpus)
    yield "-m", f"{boot.memory_mib}M"
    yield "-nodefaults", "-no-reboot", "-display", "none", *serial
    yield "-device", "virtio-rng-pci"
    yield "-kernel", boot.kernel
    if boot.initrd:
        yield "-initrd", boot.initrd
    yield "-append", cmdline.with_root(boot.cmdline, is_read_only=machine.drives[0].is_read_only)
    for drive in machine.drives:
        # The format is never guessed: a guest could write the header of another into its disk.
        read_only = ",readonly=on" if drive.is_read_only else ""
        further = shell.drive_options(NAME, drive)
        yield "-drive", f"file={drive.path},format={drive.image_type},if=virtio{read_only}{further}"


def _comment(name: str, card: Card) -> str:
    if card.tap is None:
        return COMMENT.format(name=name, tap="", default=" (default)")
    return COMMENT.format(name=name, tap=TAP_COMMENT.format(tap=card.tap), default="")


def _network(card: Card) -> str:
    return NETWORK.format(
        default="tap" if card.tap else "none",
        tap_case=_tap_case(card.tap) if card.tap else "",
        user=quote(f"user,id=net0{user_network(card)}"),
        choices="tap, user and none" if card.tap else "user and none",
        device=quote(_device(card)),
    )


def _tap_case(tap: str) -> str:
    return TAP_CASE.format(tap=tap, device=quote(f"/sys/class/net/{tap}"), netdev=quote(_tap(tap)))


def user_network(card: Card) -> str:
    """Options of `-netdev user` for a guest that sets its address itself, each with a comma before it.

    The gateway is QEMU's, and the guest the first that its DHCP server would serve: so it is the one that
    connections are forwarded to.
    """
    if card.address is None:
        return ""
    guest = IPv4Interface(card.address)
    wide = IPv4Interface((guest.ip, min(guest.network.prefixlen, WIDEST_PREFIX))).network
    gateway = IPv4Address(card.gateway) if card.gateway else None
    # A host within the guest's own network if there is one: the guest may know no way out of it.
    free = (ip for ip in chain(guest.network.hosts(), wide.hosts()) if ip not in {guest.ip, gateway})
    host = gateway or next(free)
    server = next(ip for ip in free if ip != host)
    return f",net={wide},host={host},dns={server},dhcpstart={guest.ip}"
