"""What nodes list, of `status` and `verify`, as one list: each row with its node."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.cluster.documents import NOTHING_LOCAL, decoded
from bangerbuild.commands.status import UNDECLARED, ArtifactStatus
from bangerbuild.commands.verify.check import Check
from bangerbuild.model import StepId

if TYPE_CHECKING:
    from bangerbuild.cluster.gathering import Gathering
    from bangerbuild.model import Json
    from bangerbuild.pipeline import Loaded


def rows(gathered: Gathering) -> list[Json]:
    """The rows as JSON has them."""
    return [{**row, "node": node} for node, listed in sorted(gathered.rows.items()) for row in listed]


def statuses(loaded: Loaded, gathered: Gathering) -> tuple[ArtifactStatus, ...]:
    """The artifacts of all nodes; their paths begin with the node."""
    vms = loaded.manifest.vms
    found = []
    for node, listed in sorted(gathered.rows.items()):
        for number, row in enumerate(listed):
            one = decoded(ArtifactStatus, row, NOTHING_LOCAL, f"{node}[{number}]")
            vm = vms.get(StepId(one.id).name) if one.id.startswith("vm.") else None
            state = f"on node {vm.node}" if one.state == UNDECLARED and vm and vm.node != node else one.state
            found.append(replace(one, path=f"{node}:{one.path}", state=state))
    return tuple(found)


def checks(gathered: Gathering) -> tuple[Check, ...]:
    """The checks of all nodes; their paths begin with the node."""
    found = []
    for node, listed in sorted(gathered.rows.items()):
        for number, row in enumerate(listed):
            one = decoded(Check, row, NOTHING_LOCAL, f"{node}[{number}]")
            found.append(replace(one, path=f"{node}:{one.path}"))
    return tuple(found)
