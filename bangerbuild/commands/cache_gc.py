"""What the registry that a manifest pushes to no longer needs to hold, and its removal; for `gc --cache`.

Needed is what the lock file has a digest for, and what is built here as it is declared. Only tags that are
fingerprints are looked at, in the repositories of images that are declared or that the lock file names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import pipeline
from bangerbuild.cache_registry import cleaning
from bangerbuild.commands.push import target
from bangerbuild.model import StepId
from bangerbuild.resolving import lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bangerbuild.model import Json
    from bangerbuild.pipeline import Loaded


def collect(loaded: Loaded, warn: Callable[[str], None], *, removes: bool) -> tuple[str, ...]:
    """The tags that nobody needs; those that were removed, or with `removes` false would be.

    Raises:
        UsageError: the manifest names no registry to push to.
        LockFileError, SourceError: it can't be told what is needed; nothing was removed.
        SourceError, ToolError: the registry gives no answer, or does not remove something.
    """
    repository = target(loaded)
    lock = lockfile.read(lockfile.path_beside(loaded.manifest))
    if not lock.pushed:
        warn("bangerbuild.lock has no digest of any image: only what is declared now counts as needed")
    wanted = pipeline.of_images(loaded, ())
    plan, _ = pipeline.look(wanted, previews=False)
    needed = {digits for _, digits in lock.pushed} | {action.fingerprint for action in plan.actions}
    images = {StepId(action.id).name for action in plan.actions} | {name for name, _ in lock.pushed}
    found = tuple(tag for name in sorted(images) for tag in cleaning.surplus(repository, name, needed))
    for reference in found if removes else ():
        cleaning.remove(reference)
    return found


def lines(found: Sequence[str], *, removed: bool) -> Iterator[str]:
    """A line for each tag, and what was done."""
    for reference in found:
        yield f"  {reference}"
    if not found:
        yield "Nothing to remove."
    else:
        tags = "1 tag" if len(found) == 1 else f"{len(found)} tags"
        yield f"{tags} removed." if removed else f"{tags} would be removed: bangerbuild gc --cache --yes"


def to_json(found: Sequence[str], *, removed: bool) -> dict[str, Json]:
    """The document that `gc --cache --json` prints."""
    return {"format": 1, "dry_run": not removed, "removed": list(found)}
