"""How a VMM gets at a root: the drives in their order, and what has to be set up before. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bangerbuild.host.process import Program

ATTACHED_ROOT = "root.dev"
"""The symlink in a VM's directory that attach.sh makes to what it sets up."""
VMM_NAMES = ("firecracker", "cloud-hypervisor", "qemu")
"""The VMMs that launch files are written for, as a format names them."""


def _check_vmms(names: Iterable[str]) -> None:
    """Refuse a misspelt VMM: what is said to it would be told to none."""
    for name in names:
        if name not in VMM_NAMES:
            raise ValueError(f"no VMM is called '{name}': {', '.join(VMM_NAMES)}")


@dataclass(frozen=True)
class Drive:
    """A file or device that a VMM gives its guest as a disk; the first is /dev/vda, the second /dev/vdb.

    Raises:
        ValueError: `options` names a VMM that is not known.
    """

    path: str
    """Relative to the VM's directory."""
    image_type: str = "raw"
    """What QEMU and cloud-hypervisor call the format of the file. It is never guessed."""
    is_read_only: bool = False
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What else a VMM is told of the disk: `{"cloud-hypervisor": {"backing_files": "on"}}`.

    The VMM is named as in `VMM_NAMES`, the option as that VMM names it.
    """

    def __post_init__(self) -> None:
        _check_vmms(self.options)


@dataclass(frozen=True)
class HostSetup:
    """What has to be set up on the host before a VMM can use a root: the parts of attach.sh and detach.sh.

    The parts are lines of POSIX sh, run in the VM's directory under `set -eu`, in the order of the fields. In
    all of them `$vm` is the VM's name, and `fail MESSAGE` ends the script. attach.sh leaves a symlink to what
    it has set up, `ATTACHED_ROOT`, and detach.sh removes it; where that is done already, they do nothing.
    """

    needs_root: bool
    """Whether the scripts have to be run as root; they refuse anybody else then."""
    programs: tuple[Program, ...]
    """What the scripts run beside what every host has; each is looked for before anything is done."""
    packages: tuple[str, ...]
    """Where those programs come from."""
    variables: Mapping[str, str]
    """Shell variables that the parts use, by name; quoted by who writes the script."""
    functions: str
    """Definitions for all that follows."""
    prepare: str
    """What both scripts do first, once the programs are found."""
    attach: str
    """The rest of attach.sh."""
    detach: str
    """The rest of detach.sh."""


@dataclass(frozen=True)
class Attachment:
    """How a VMM gets at a root.

    Raises:
        ValueError: `refusals` names a VMM that is not known.
    """

    drives: tuple[Drive, ...]
    """The first is the one that the kernel mounts; a disk that the guest writes to is the last."""
    about: str = "a disk of its own"
    """What the root is; ends the sentence "the root of the VM is …"."""
    setup: HostSetup | None = None
    """What has to be set up before; None: nothing, any user can start the VM."""
    is_mounted: bool = True
    """Whether the first drive is what the guest has mounted on /; else its init joins several there."""
    kernel_words: tuple[str, ...] = ()
    """What the kernel's command line gets beside `root=`, such as `init=/bin/join`, whatever is declared."""
    refusals: Mapping[str, str] = field(default_factory=dict)
    """VMMs of `VMM_NAMES` that can't use such a root, and why."""

    def __post_init__(self) -> None:
        _check_vmms(self.refusals)
