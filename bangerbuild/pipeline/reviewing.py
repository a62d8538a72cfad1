"""Plans that are saved for a review, and held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from bangerbuild import store
from bangerbuild.model import Plan, StepId
from bangerbuild.model.request import RunOptions, epoch
from bangerbuild.pipeline.belonging import vm_id
from bangerbuild.pipeline.looking import holders_of_secrets
from bangerbuild.planning import plan_file
from bangerbuild.planning.reviewed import refuse_stale, reviewed
from bangerbuild.planning.saved import SavedPlan
from bangerbuild.store import secrets_key

if TYPE_CHECKING:
    from bangerbuild.pipeline.loading import Loaded
    from bangerbuild.planning.reviewed import Reviewed


def keep_key(loaded: Loaded) -> None:
    """See that the store has a key for digests of secrets, if there are any.

    Else the next run would have another key, and not know whether a secret has changed since.

    Raises:
        BusyError, StoreError: the store can't be written.
    """
    if holders_of_secrets(loaded) and secrets_key.read(loaded.store) is None:
        with store.writing(loaded.store, timeout_seconds=RunOptions().lock_seconds) as opened:
            opened.secrets_key(loaded.new_key)


def saved_plan(made: Plan) -> SavedPlan:
    """A plan of `plan`, as a document that `apply` can be held to later."""
    loaded, here = cast("Loaded", made.origin), Path.cwd()
    return SavedPlan(loaded.request, here, _reviewed(loaded, made, here))


def _reviewed(loaded: Loaded, made: Plan, directory: Path) -> Reviewed:
    """What of a plan has to hold; paths of a project that may lie elsewhere count from a directory."""
    vms = loaded.manifest.vms.values()
    wanted = {StepId(step_id).owner for step_id in loaded.wanted}
    leases = {
        str(vm_id(vm.name)): vm.network.address
        for vm in vms
        if vm.network.name and vm.network.address and vm_id(vm.name) in wanted
    }
    found = epoch()
    return reviewed(
        made,
        leases,
        store=plan_file.shown_store(loaded.store, directory),
        epoch=str(int(found)) if found.is_set else "",
    )


def check_reviewed(loaded: Loaded, saved: SavedPlan, directory: Path, made: Plan) -> None:
    """See that a plan is the one that was saved.

    Args:
        loaded: what the plan was made from.
        saved: what was reviewed.
        directory: what its paths count from.
        made: the plan.

    Raises:
        StalePlanError: something moved since.
    """
    refuse_stale(saved.reviewed, _reviewed(loaded, made, directory), made)
