"""The registry of VMMs: what each writes as its launch file, and how `boot` starts it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from bangerbuild.launch import cloud_hypervisor, firecracker, qemu, shell
from bangerbuild.launch.session import NETWORK_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bangerbuild.launch.machine import Boot, Machine
    from bangerbuild.launch.session import NetworkKind, Session


def _no_files(machine: Machine, boot: Boot, session: Session) -> Mapping[str, str]:  # noqa: ARG001  # options are enough
    return {}


@dataclass(frozen=True)
class Vmm:
    """A VMM, its launch file, and how `boot` starts the same machine."""

    name: str
    """As an `Attachment` refuses it."""
    label: str
    """As its authors write it."""
    file: str
    write: Callable[[Machine, Boot], str]
    refuse: Callable[[str], str]
    """The file's text where the VMM can't use the VM's root, with the reason."""
    program: str
    package: str | None
    """Debian's; None: Debian has none."""
    arguments: Callable[[Machine, Boot, Session], Iterable[Sequence[str]]]
    """One option with its values each."""
    files: Callable[[Machine, Boot, Session], Mapping[str, str]] = _no_files
    """What lies in the run directory before the start, by name."""
    networks: tuple[NetworkKind, ...] = ("tap", "none")
    """Those it can have."""
    needs_kvm: bool = True
    console: Literal["files", "terminal"] = "files"
    """What its console can be: its standard input and output, whatever they are, or a terminal only."""

    def text(self, machine: Machine, boot: Boot) -> str:
        """Its launch file's."""
        why = machine.root.refusals.get(self.name)
        return self.write(machine, boot) if why is None else self.refuse(why)


VMMS = (
    Vmm(
        firecracker.NAME,
        "Firecracker",
        firecracker.CONFIG,
        firecracker.config,
        firecracker.refusal,
        firecracker.PROGRAM,
        None,
        firecracker.arguments,
        firecracker.session_files,
    ),
    Vmm(
        cloud_hypervisor.NAME,
        "cloud-hypervisor",
        "cloud-hypervisor.sh",
        cloud_hypervisor.script,
        partial(shell.refusal, "cloud-hypervisor.sh", "cloud-hypervisor"),
        cloud_hypervisor.PROGRAM,
        None,
        cloud_hypervisor.arguments,
        console="terminal",
    ),
    Vmm(
        qemu.NAME,
        "QEMU",
        "qemu.sh",
        qemu.script,
        partial(shell.refusal, "qemu.sh", "QEMU"),
        qemu.PROGRAM,
        "qemu-system-x86",
        qemu.arguments,
        networks=NETWORK_KINDS,
        needs_kvm=False,
    ),
)
"""In the order in which their launch files are written."""

PREFERRED = tuple(reversed(VMMS))
"""In the order in which `boot` takes them."""
