"""`bangerbuild push` and `pull`: built images to a registry, and out of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild import report
from bangerbuild.cli import options, output
from bangerbuild.cli.output import EXIT_FAILED
from bangerbuild.errors import BangerError
from bangerbuild.model import Outcome, StepId, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bangerbuild.model import Json, Plan, Result
    from bangerbuild.pipeline import Loaded

_MANIFESTS_MARK = re.compile("[./]")
"""What a path has, and a name of an image never."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the two commands share."""
    for option in reversed(
        (
            click.argument("image", nargs=-1, type=options.Names("images files")),
            click.option(
                "--store", type=click.Path(path_type=Path), metavar="DIR", help="Where artifacts go."
            ),
            *options.variable_options,
            options.as_json,
        )
    ):
        function = option(function)
    return function


def _loaded(image: Sequence[str], wanted: dict[str, Any]) -> tuple[Loaded, tuple[str, ...]]:
    """The manifests, and the names of images: a path has a dot or a slash in it."""
    names = tuple(name.removeprefix("image.") for name in image)
    manifests = tuple(Path(name) for name in names if _MANIFESTS_MARK.search(name))
    options.remember(manifests, wanted["store"], wanted["variables"], wanted["variable_files"])
    return options.loaded(manifests, **wanted), tuple(
        name for name in names if not _MANIFESTS_MARK.search(name)
    )


@click.command(cls=options.Command)
@_options
def push(image: tuple[str, ...], *, as_json: bool, **wanted: Any) -> None:  # noqa: ANN401  # as for others
    """Push built images to the registry of [cache].

    IMAGE is the name of an image; none: all of them. They are built before, with `apply`. bangerbuild.lock
    gets the digest of what was pushed, by which others trust it: commit it. What has a dot or a slash in it
    is a manifest.
    """
    from bangerbuild.commands import push as pushing

    def tell(one: pushing.PushedArtifact) -> None:
        if not as_json:
            output.result(one.line())

    loaded, names = _loaded(image, wanted)
    done = pushing.push(loaded, names, tell)
    if as_json:
        output.json_result({"format": 1, "pushed": [one.to_json() for one in done]})


@click.command(cls=options.Command)
@_options
@options.lock_timeout
@click.option("--locked", is_flag=True, help="Fail if the lock file would have to change.")
@click.option("-q", "--quiet", is_flag=True, help="Errors and warnings only.")
def pull(image: tuple[str, ...], *, as_json: bool, lock_timeout: float, quiet: bool, **wanted: Any) -> int:  # noqa: ANN401
    """Fetch images from the registries of [cache]; build nothing.

    IMAGE is the name of an image; none: all of them. `apply` fetches what it can by itself. What has a dot or
    a slash in it is a manifest.
    """
    from bangerbuild import pipeline
    from bangerbuild.model.request import RunOptions
    from bangerbuild.report.reporters import reporter

    begun = time.monotonic()
    loaded, names = _loaded(image, wanted)
    run_options = RunOptions(lock_seconds=lock_timeout, keep_going=True, previews=False)
    with reporter(quiet=quiet, verbose=False) as telling:
        plan, results = pipeline.pull(loaded, names, options=run_options, reporter=telling)
    if as_json:
        output.json_result(report.plan_json(plan, results))
    elif not quiet:
        output.result(report.result_sum(plan, results, time.monotonic() - begun))
    is_blocked = any(action.verb is Verb.BLOCKED for action in plan.actions)
    return EXIT_FAILED if is_blocked or any(one.outcome is Outcome.FAILED for one in results) else 0


def check_target(loaded: Loaded) -> None:
    """Refuse to go on where the manifest does not say where images are pushed to."""
    from bangerbuild.commands import push as pushing

    pushing.target(loaded)


def push_built(loaded: Loaded, plan: Plan, results: Sequence[Result], *, quiet: bool) -> list[Json]:
    """Push the images of a run that is done; a registry that fails is warned of, as all is built."""
    from bangerbuild.commands import push as pushing

    undone = {
        StepId(action.id).owner
        for action, result in zip(plan.actions, results, strict=True)
        if action.verb is not Verb.KEEP and result.outcome is not Outcome.DONE
    }
    there = {StepId(action.id).owner for action in plan.actions}
    names = [name for name in loaded.manifest.images if StepId(f"image.{name}") in there - undone]
    done: list[pushing.PushedArtifact] = []

    def tell(one: pushing.PushedArtifact) -> None:
        done.append(one)
        if not quiet:
            output.say([one.line()])

    try:
        if names:
            pushing.push(loaded, names, tell)
    except BangerError as err:
        output.warn(f"not pushed: {err.brief}")
        for line in report.more_of(err):
            output.say([line])
    return [one.to_json() for one in done]
