"""Whether the disks of a VM are as its VMM needs them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from bangerbuild.disk import in_use, interrupted
from bangerbuild.disk.attachment import ATTACHED_ROOT
from bangerbuild.errors import BusyError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.launch.machine import Boot, Machine


def check(machine: Machine, boot: Boot, directory: Path) -> None:
    """Refuse to start a VM on what its VMM could not use, or should not.

    Args:
        machine: the VM.
        boot: the same one's.
        directory: its own, in the store.

    Raises:
        StoreError: something is not there, or a change of it was interrupted.
        BusyError: a disk is in use.
    """
    setup = machine.root.setup
    if setup is not None and not (directory / ATTACHED_ROOT).exists():
        sudo = "sudo " if setup.needs_root else ""
        raise StoreError(
            f"the root of '{machine.name}' is not attached",
            hint=f'{sudo}{directory / "attach.sh"}, or root.format = "qcow2", which starts without root',
        )
    for path in (boot.kernel, boot.initrd, *(drive.path for drive in machine.drives)):
        if path is not None and not (directory / path).exists():
            shown = posixpath.normpath(f"{directory}/{path}")
            raise StoreError(f"'{shown}' is not there", hint="bangerbuild apply")
    for drive in machine.drives:
        if not drive.is_read_only:
            _check_disk(directory / drive.path)


def _check_disk(path: Path) -> None:
    if any(left.exists() for left in interrupted.leftovers(path)):
        raise StoreError(
            f"a change of '{path}' was interrupted", hint="bangerbuild apply finishes or undoes it"
        )
    if path.is_file() and (who := in_use.writer(path)):
        raise BusyError(f"'{path}' is in use by {who}", hint="stop what uses it first")
