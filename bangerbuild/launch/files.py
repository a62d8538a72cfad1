"""The launch files of a VM, under their names in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.launch import attach, cloud_hypervisor, firecracker, qemu, shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.launch.machine import Boot, Machine

ALWAYS = ("attach.sh", "detach.sh")


@dataclass(frozen=True)
class LaunchFile:
    """A file of the VM's directory; it holds no secrets."""

    name: str
    content: str

    @property
    def mode(self) -> int:
        """Scripts can be run."""
        return 0o755 if self.name.endswith(".sh") else 0o644


@dataclass(frozen=True)
class _Vmm:
    """A VMM and its launch file."""

    name: str
    """As an `Attachment` refuses it."""
    file: str
    write: Callable[[Machine, Boot], str]
    refuse: Callable[[str], str]
    """The file's text where the VMM can't use the VM's root, with the reason."""

    def text(self, machine: Machine, boot: Boot) -> str:
        why = machine.root.refusals.get(self.name)
        return self.write(machine, boot) if why is None else self.refuse(why)


VMMS = (
    _Vmm(firecracker.NAME, "firecracker.json", firecracker.config, firecracker.refusal),
    _Vmm(
        cloud_hypervisor.NAME,
        "cloud-hypervisor.sh",
        cloud_hypervisor.script,
        partial(shell.refusal, "cloud-hypervisor.sh", "cloud-hypervisor"),
    ),
    _Vmm(qemu.NAME, "qemu.sh", qemu.script, partial(shell.refusal, "qemu.sh", "QEMU")),
)


def names(*, kernel: bool) -> tuple[str, ...]:
    """The names of the files that a VM gets whose image has a kernel, or none."""
    return (*ALWAYS, *(vmm.file for vmm in VMMS)) if kernel else ALWAYS


def files(machine: Machine) -> tuple[LaunchFile, ...]:
    """The files, in the order of their names above; the same text for the same machine, anywhere."""
    texts = [attach.attach_script(machine), attach.detach_script(machine)]
    if boot := machine.boot:
        texts += [vmm.text(machine, boot) for vmm in VMMS]
    made = names(kernel=machine.boot is not None)
    return tuple(LaunchFile(name, text) for name, text in zip(made, texts, strict=True))
