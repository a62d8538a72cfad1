"""Keeping what `boot` executed, so that the same command line can do it again at once."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from bangerbuild.running import at_once
from bangerbuild.uptodate import check, command, record

if TYPE_CHECKING:
    from bangerbuild.commands.boot import Booted
    from bangerbuild.model.request import Request


def remember(booted: Booted, request: Request, vm: str) -> None:
    """Keep it; an error only costs time at the next start."""
    planned, spawned = booted.planned, booted.spawned
    store = None if request.store is None else str(request.store)
    try:
        key = command.key(
            [str(path) for path in request.manifests],
            store,
            (f"vm.{vm}",),
            locked=request.locked,
            offline=request.offline,
            variables=[f"{name}={value}" for name, value in request.variables],
            variable_files=[str(path) for path in request.variable_files],
        )
        basis = record.found(key)
        if basis is None:
            return
        at_once.remember(
            at_once.Prepared(
                words=sys.argv[1:],
                where=os.getcwd(),  # noqa: PTH109  # as the next start has it
                key=key,
                basis=at_once.checksum(basis),
                directory=spawned.directory,
                start=vars(planned.start),
                program=check.stats([planned.start.program]),
                kvm_trouble=planned.kvm_trouble,
                paths=dict(planned.paths),
                notes=list(planned.notes),
            )
        )
    except OSError:
        return
