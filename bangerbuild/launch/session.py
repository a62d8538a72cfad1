"""What a VM is given when `boot` starts it, beside its machine: accelerator, network, console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NetworkKind = Literal["user", "tap", "none"]
NETWORK_KINDS: tuple[NetworkKind, ...] = ("user", "tap", "none")

RUN = "run"
"""The directory, in the VM's own, of what is there while it runs."""
CONSOLE_LOG = f"{RUN}/console.log"
"""What the guest has printed on its console since the start."""
API_SOCKET = f"{RUN}/api.sock"
"""Where the VMM takes requests: QEMU as QMP, the others by HTTP."""
FREE_PORT = "\0"
"""Stands for a port that is chosen when the VM is started; no argument of a program can hold it."""


@dataclass(frozen=True)
class Session:
    """One start of a VM."""

    kvm: bool
    """Whether it may use KVM."""
    network: NetworkKind
    forwards: tuple[tuple[str, int], ...] = ()
    """Ports of the loopback, or `FREE_PORT`, and the guest's ports that they lead to."""
    attached: bool = False
    """Whether its console is on a terminal from the start."""
    arguments: tuple[str, ...] = ()
    """Further ones, for the VMM."""
