"""bangerbuild: disks of microVMs from a TOML manifest, without root.

    from bangerbuild import apply, load, plan

    loaded = load(["vm.toml"])
    for action in plan(loaded).actions:
        print(action.verb, action.id)
    apply(loaded)

The names below are the whole public interface; docs/api.md describes them. They are imported when they are
first used, because the command line answers "nothing to do" before most of this package is loaded.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` for it takes as long as the answer that nothing is to be done
if TYPE_CHECKING:
    from bangerbuild.errors import BangerError as BangerError
    from bangerbuild.errors import ManifestError as ManifestError
    from bangerbuild.errors import StalePlanError as StalePlanError
    from bangerbuild.model import Action as Action
    from bangerbuild.model import Outcome as Outcome
    from bangerbuild.model import Plan as Plan
    from bangerbuild.model import PlanReporter as PlanReporter
    from bangerbuild.model import Reason as Reason
    from bangerbuild.model import ReasonCode as ReasonCode
    from bangerbuild.model import Result as Result
    from bangerbuild.model import Silent as Silent
    from bangerbuild.model import Verb as Verb
    from bangerbuild.model.request import RunOptions as RunOptions
    from bangerbuild.pipeline import Applied as Applied
    from bangerbuild.pipeline import Loaded as Loaded
    from bangerbuild.pipeline import apply as apply
    from bangerbuild.pipeline import load as load
    from bangerbuild.pipeline import plan as plan

    __version__: str

__all__ = [
    "Action",
    "Applied",
    "BangerError",
    "Loaded",
    "ManifestError",
    "Outcome",
    "Plan",
    "PlanReporter",
    "Reason",
    "ReasonCode",
    "Result",
    "RunOptions",
    "Silent",
    "StalePlanError",
    "Verb",
    "apply",
    "load",
    "plan",
]

_HOMES = {
    "Action": "model",
    "Applied": "pipeline",
    "BangerError": "errors",
    "Loaded": "pipeline",
    "ManifestError": "errors",
    "Outcome": "model",
    "Plan": "model",
    "PlanReporter": "model",
    "Reason": "model",
    "ReasonCode": "model",
    "Result": "model",
    "RunOptions": "model.request",
    "Silent": "model",
    "StalePlanError": "errors",
    "Verb": "model",
    "apply": "pipeline",
    "load": "pipeline",
    "plan": "pipeline",
}
"""In which module each public name is defined."""


def __getattr__(name: str) -> object:
    """A public name, from the module that defines it (PEP 562); or the version."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'bangerbuild' has no attribute '{name}'")
    from importlib import import_module  # noqa: PLC0415  # as the module says

    return getattr(import_module(f"bangerbuild.{_HOMES[name]}"), name)


def _version() -> str:
    """The version that was installed, which a git tag names. It takes a while, and few ask for it."""
    from importlib import metadata  # noqa: PLC0415  # as the module says

    try:
        return metadata.version("bangerbuild")
    except metadata.PackageNotFoundError:  # modules in a directory, without an installation
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
