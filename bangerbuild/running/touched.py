"""Whether disks that their guest wrote to are as an apply would leave them, told before a plan could be made.

A disk is if it has its size, its format finds nothing wrong with it, and what was written into the guest is
still there. That is what a plan looks at too, through the same code; if anything differs, it has to decide.
A plan takes half a second, most of it to load what it needs beside that code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.disk import formats, ledger_lines
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BangerError
from bangerbuild.tree import DiskMount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOW = 1
"""The time that nothing is written at."""


def are_as_declared(disks: Mapping[str, Mapping[str, Any]], touched: Iterable[str], store: str) -> bool:
    """Whether nothing would have to be done to these disks, which nobody has open.

    Args:
        disks: what is known of a VM's disks by their artifacts, as `steps.startable` gives it.
        touched: the artifacts that differ from what they were.
        store: the directory that they are in.
    """
    return all(name in disks and _is_as_declared(disks[name], name, store) for name in touched)


def _is_as_declared(known: Mapping[str, Any], name: str, store: str) -> bool:
    base = known["base"] and Base(Path(store, known["base"]), known["base"])
    disk = StoredDisk(Path(store, name), name, base)
    place = DiskMount(known["mount_point"], frozenset(known["others"]), frozenset(known["hidden"]))
    try:
        disk_format = formats.named(known["format"])
        if disk_format.size_of(disk.path) != known["size_bytes"]:
            return False
        disk_format.inspect(disk, NOW)
        with disk_format.opened(disk, epoch=NOW, place=place) as opened:
            return not any(ledger_lines.differing(opened, json.loads(known["lines"])))
    except (BangerError, OSError):  # the plan says what is wrong
        return False
