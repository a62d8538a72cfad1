"""Plans in files: `plan --out FILE` and `apply FILE`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.cli import options
from bangerbuild.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.model import Plan
    from bangerbuild.pipeline import Loaded
    from bangerbuild.planning.saved import SavedPlan

_SETTLED = {"targets": "--target", "replace": "--replace", "store": "--store", "node": "--node"}
"""What a saved plan says for itself."""


@dataclass(frozen=True)
class Asked:
    """What `apply` is asked for."""

    wanted: Mapping[str, Any]
    """The parameters of `options.loaded`."""
    saved: SavedPlan | None = None
    """What it has to be."""
    directory: Path = Path()
    """What the saved plan's paths count from."""

    def check(self, loaded: Loaded) -> Callable[[Plan], None] | None:
        """What refuses any other plan; None where none was saved."""
        from bangerbuild import pipeline

        if self.saved is None:
            return None
        return partial(pipeline.check_reviewed, loaded, self.saved, self.directory)


def asked(wanted: Mapping[str, Any], cluster: str | None = None) -> Asked:
    """What the options of `apply` mean; a saved plan in place of a manifest brings its own.

    Raises:
        UsageError: it can't be used, or something else is named beside it.
    """
    from bangerbuild.planning import plan_file

    found = [path for path in wanted["manifest"] if plan_file.is_one(path)]
    if not found:
        return Asked(wanted)
    path = found[0]
    if cluster is not None:
        brief = f"'{path}' is a plan of one store, and --cluster is about several"
        raise UsageError(brief, hint="leave --cluster out")
    for name, option in _SETTLED.items():
        if wanted[name]:
            raise UsageError(f"{option} was settled when '{path}' was made", hint=f"leave {option} out")
    saved = plan_file.read(path)
    if len(wanted["manifest"]) > 1:
        raise UsageError(f"'{path}' is a saved plan, and applied alone", hint=f"bangerbuild apply {path}")
    request, directory = plan_file.request_of(saved, Path.cwd())
    own = {
        "manifest": request.manifests,
        "store": request.store,
        "node": request.node,
        "targets": request.targets,
        "replace": request.replace,
        "locked": request.locked or wanted["locked"],
        "offline": request.offline or wanted["offline"],
        "variables": (*request.variables, *wanted["variables"]),
        "variable_files": wanted["variable_files"] or request.variable_files,
    }
    return Asked(own, saved, directory)


def to_be_saved(out: Path | None, wanted: Mapping[str, Any]) -> Loaded:
    """The manifests of these options, loaded; and all seen to that a plan of them can be saved.

    Raises:
        UsageError: something else is in the place of the file.
    """
    from bangerbuild import pipeline
    from bangerbuild.planning import plan_file

    if out:
        plan_file.refuse_to_overwrite(out)
    loaded = options.loaded(**wanted)
    if out:
        pipeline.keep_key(loaded)
    return loaded


def save(out: Path, made: Plan) -> None:
    """Save a plan.

    Raises:
        BangerError: the file can't be written.
    """
    from bangerbuild import pipeline
    from bangerbuild.planning import plan_file

    plan_file.write(out, pipeline.saved_plan(made))
