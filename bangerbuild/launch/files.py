"""The launch files of a VM, under their names in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.launch import attach
from bangerbuild.launch.vmms import VMMS

if TYPE_CHECKING:
    from bangerbuild.launch.machine import Machine

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
