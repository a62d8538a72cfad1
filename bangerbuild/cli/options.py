"""The options that several commands share, and the Request that is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import output
from bangerbuild.errors import UsageError
from bangerbuild.given import Given
from bangerbuild.report.formats import FORMATS
from bangerbuild.uptodate.command import DEFAULT_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bangerbuild.manifest.outline import Outline
    from bangerbuild.model.request import Request
    from bangerbuild.pipeline import Loaded
    from bangerbuild.report.formats import Format

DEFAULT_STORE = "build"
"""The store if no manifest names one."""


class Names(click.ParamType):  # type: ignore[type-arg]  # older versions of click have no arguments
    """A text that shells complete with names of these kinds, see `completion.answering`.

    Args:
        kinds: words of it, such as `ids files`.
    """

    name = "text"

    def __init__(self, kinds: str) -> None:
        self.kinds = kinds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401, ARG002
        """The text itself."""
        return value


class Command(click.Command):
    """A command whose messages name other commands as they can be typed: with what this one was given."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as click has it
        """Run it."""
        given = ctx.params
        manifests = (*given.get("manifest", ()), *given.get("manifests", ()))
        variables, files = (given.get(name, ()) for name in ("variables", "variable_files"))
        remember(manifests, given.get("store"), variables, files, given.get("node"), given.get("cluster"))
        return super().invoke(ctx)


class Commands(click.Group):
    """A group that lists commands in the order of their definition."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The names of the commands, in the order of their definition instead of the alphabet."""
        return list(self.commands)


def remember(  # noqa: PLR0913, PLR0917  # one for each option that counts
    manifests: Sequence[Path],
    store: Path | None,
    variables: Sequence[tuple[str, str]] = (),
    variable_files: Sequence[Path] = (),
    node: str | None = None,
    cluster: str | None = None,
) -> None:
    """Complete the commands in messages with these manifests, this store, these variables and this node."""
    named = () if tuple(manifests) == (Path(DEFAULT_MANIFEST),) else manifests
    output.begin(Given.of(named, store, variables, variable_files, node, cluster))


def _variables(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """The names and values of `KEY=VALUE`."""
    for text in given:
        if not text.partition("=")[0] or "=" not in text:
            raise click.BadParameter(f"'{text}' is no KEY=VALUE")
    return tuple((name, value) for name, _, value in (text.partition("=") for text in given))


variable_options = (
    click.option(
        "--var",
        "variables",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_variables,
        help="Set a variable of [vars]. May be repeated.",
    ),
    click.option(
        "--var-file",
        "variable_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Set the variables in a TOML file. May be repeated.",
    ),
)


def with_variables(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that set variables."""
    for option in reversed(variable_options):
        function = option(function)
    return function


def store_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of every command that reads a manifest."""
    for option in reversed(
        (
            click.argument("manifest", nargs=-1, type=click.Path(path_type=Path)),
            click.option(
                "--store", type=click.Path(path_type=Path), metavar="DIR", help="Where artifacts go."
            ),
            *variable_options,
        )
    ):
        function = option(function)
    return function


def manifest_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments of every command that can work on a part of a manifest."""
    return store_options(
        click.option(
            "--target",
            "targets",
            multiple=True,
            type=Names("ids"),
            metavar="ID",
            help="Only this step, or all below it (vm.web, 'vm.web-*'), and what it needs. May be repeated.",
        )(function)
    )


def _seconds(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if value != value:  # noqa: PLR0124  # nan: no comparison with it is ever true
        raise click.BadParameter("nan is no number of seconds")
    return value


lock_timeout = click.option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    callback=_seconds,
    help="How long to wait for others who work on the same store.",
)
jobs = click.option(
    "-j", "--jobs", type=click.IntRange(1), metavar="N", help="Steps at once. [default: the cores]"
)
node = click.option(
    "--node",
    type=Names("nodes"),
    metavar="NAME",
    help="The node whose share is meant, where nodes are declared; 'all': that of all, in one store.",
)
cluster = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="All nodes at once, through Dask's scheduler: tls://HOST:8786; local:N to try it here.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")

plan_format = click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="markdown is for the comment of a review, github for a log of GitHub Actions. [default: text]",
)


def chosen_format(form: str | None, *, as_json: bool) -> Format:
    """The form of `--format` and `--json`.

    Raises:
        UsageError: they ask for two.
    """
    if as_json and form not in {None, "json"}:
        raise UsageError(f"--json and --format {form} are two forms", hint="leave one of them out")
    return FORMATS["json" if as_json else form or "text"]


def number(jobs: int | None) -> int:
    """The number of parallel jobs: as given, else the number of usable cores."""
    return jobs or len(os.sched_getaffinity(0))


def plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `apply` and `plan` share."""
    for option in reversed(
        (
            click.option(
                "--replace",
                multiple=True,
                type=Names("ids"),
                metavar="ID",
                help="Make this anew, WHATEVER IS IN IT. May be repeated.",
            ),
            click.option("--offline", is_flag=True, help="Never use the network."),
            click.option("--locked", is_flag=True, help="Fail if the lock file would have to change."),
            as_json,
            click.option(
                "-v",
                "--verbose",
                is_flag=True,
                help="Kept steps too, and what builders print; in a plan also each artifact.",
            ),
        )
    ):
        function = option(function)
    return manifest_options(node(function))


place_options = (
    click.option(
        "--manifest",
        "manifest",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The manifest. May be repeated. [default: vm.toml]",
    ),
    click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Where artifacts are."),
)
"""They say where VMs and images are that are named by their ids."""


def outline(manifest: tuple[Path, ...], store: Path | None) -> Outline:
    """What the manifests of these options say, as far as they can be read."""
    from bangerbuild.manifest.outline import outline as outlined

    if not manifest and store is None and not Path(DEFAULT_MANIFEST).exists():
        return outlined((), store=Path(DEFAULT_STORE))  # where VMs of a manifest that is gone may be
    return outlined(manifest or (Path(DEFAULT_MANIFEST),), store=store)


def disk_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments for a disk and a path inside it."""
    for option in reversed(
        (
            click.argument("disk", type=Names("disks files")),
            click.argument("guest_path"),
            *place_options,
            click.option(
                "--base",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="The image that the disk stands on, where no record names it.",
            ),
        )
    ):
        function = option(function)
    return function


def request(  # noqa: PLR0913  # one parameter for each option
    manifest: tuple[Path, ...],
    *,
    store: Path | None,
    targets: tuple[str, ...] = (),
    replace: tuple[str, ...] = (),
    offline: bool = False,
    locked: bool = False,
    variables: tuple[tuple[str, str], ...] = (),
    variable_files: tuple[Path, ...] = (),
    node: str | None = None,
) -> Request:
    """What is asked for, of the options that `manifest_options` and `plan_options` add."""
    from bangerbuild.model.request import Request

    paths = manifest or (Path(DEFAULT_MANIFEST),)
    return Request(
        paths,
        store,
        targets,
        replace,
        offline=offline,
        locked=locked,
        variables=variables,
        variable_files=variable_files,
        node=node,
    )


def loaded(
    manifest: tuple[Path, ...],
    **wanted: Any,  # noqa: ANN401  # the further parameters of `load`
) -> Loaded:
    """The manifests of the same options, loaded; what is odd about them is printed."""
    import bangerbuild

    variables = dict(wanted.pop("variables", ()))
    found = bangerbuild.load(manifest, **wanted, variables=variables)
    for message in found.warnings:
        output.warn(message)
    return found
