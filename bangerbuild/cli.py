"""The command line. Results go to stdout, all else to stderr; only this module exits.

A command imports what it needs when it runs: networkx, jsonschema and rich together take longer to load than
most commands take to work.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild import __version__, report
from bangerbuild.errors import BangerError, ManifestError, UsageError
from bangerbuild.model import Outcome, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from bangerbuild.apply import Request
    from bangerbuild.model import Plan, Result

DEFAULT_MANIFEST = "vm.toml"
EXIT_FAILED = 1
EXIT_PENDING = 2
EXIT_USAGE = 3
EXIT_BUSY = 4
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _interrupt)
    _open_closed_streams()
    code = _guarded()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
    if code == EXIT_INTERRUPTED:
        sys.stderr.flush()
        os._exit(code)  # threads may still be at work in staging; nobody waits for them
    sys.exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _open_closed_streams() -> None:
    """A stream that the caller closed (`>&-`) leads nowhere, and not into the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(lowest_free, mode))


def _print(text: str | bytes, *, newline: bool = True) -> bool:
    """Print a result; whether anybody still reads. An exit code does not hang on that (`| head`)."""
    try:
        click.echo(text, nl=newline)
    except BrokenPipeError:
        _drop_output()
        return False
    return True


def _drop_output() -> None:
    """Let stdout lead nowhere, so that what is still in its buffer can be flushed without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _guarded() -> int:
    try:
        code = cli.main(prog_name="bangerbuild", standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return EXIT_USAGE if isinstance(err, click.UsageError) else EXIT_FAILED
    except BangerError as err:
        _say(
            report.problem_lines(err.problems) if isinstance(err, ManifestError) else report.error_lines(err)
        )
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say(["interrupted: what was finished stays, the rest is made by the next `bangerbuild apply`"])
        return EXIT_INTERRUPTED
    return int(code or 0)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


class Commands(click.Group):
    """Commands in the order a newcomer meets them; a mistyped one is answered with its neighbour."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """See click: as they were added, not by the alphabet."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bangerbuild")
def cli() -> None:
    """Build the disks of microVMs from a TOML manifest, without root.

    MANIFEST is vm.toml in the current directory unless one is named; several act as one.
    """


def _manifest_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that reads a manifest takes."""
    for option in reversed(
        (
            click.argument("manifest", nargs=-1, type=click.Path(path_type=Path)),
            click.option(
                "--store", type=click.Path(path_type=Path), metavar="DIR", help="Where artifacts go."
            ),
            click.option(
                "--target",
                "targets",
                multiple=True,
                metavar="ID",
                help="Only this step, or all below it (vm.web), and what it needs. May be repeated.",
            ),
        )
    ):
        function = option(function)
    return function


def _plan_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `apply` and `plan` share."""
    for option in reversed(
        (
            click.option(
                "--replace",
                multiple=True,
                metavar="ID",
                help="Make this anew, WHATEVER IS IN IT. May be repeated.",
            ),
            click.option("--offline", is_flag=True, help="Never use the network."),
            click.option("--locked", is_flag=True, help="Fail if the lock file would have to change."),
            click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
            click.option(
                "-v", "--verbose", is_flag=True, help="Kept steps too; in a plan also each artifact."
            ),
        )
    ):
        function = option(function)
    return _manifest_options(function)


@cli.command()
@_plan_options
@click.option("-j", "--jobs", type=click.IntRange(1), metavar="N", help="Steps at once. [default: the cores]")
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, do what does not depend on it.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and do nothing.")
@click.option(
    "--lock-timeout",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for another apply on the same store.",
)
@click.option("-q", "--quiet", is_flag=True, help="Errors and warnings only.")
def apply(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    lock_timeout: float,
    quiet: bool,
    as_json: bool,
    verbose: bool,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Bring the store to what the manifest declares."""
    from bangerbuild import apply as flow
    from bangerbuild.reporters import reporter

    request = _request(**wanted)
    if dry_run:
        _print_plan(flow.make_plan(request, _warn), as_json=as_json, verbose=verbose)
        return 0
    begun = time.monotonic()
    manner = flow.Manner(
        jobs or len(os.sched_getaffinity(0)), keep_going=keep_going, lock_seconds=lock_timeout
    )
    with reporter(quiet=quiet, verbose=verbose) as telling:
        plan, results = flow.apply(request, manner, telling, _warn)
    _print_results(plan, results, as_json=as_json, quiet=quiet, seconds=time.monotonic() - begun)
    return _exit_code(plan, results)


def _print_results(
    plan: Plan, results: Sequence[Result], *, as_json: bool, quiet: bool, seconds: float
) -> None:
    for result in results:
        if result.error is not None:
            _say([f"{result.id} failed:", *(f"  {line}" for line in report.error_lines(result.error))])
    if as_json:
        _print_json(report.plan_json(plan, results))
    elif not quiet:
        _print(report.result_sum(plan, results, seconds))


def _exit_code(plan: Plan, results: Sequence[Result]) -> int:
    blocked = any(action.verb is Verb.BLOCKED for action in plan.actions)
    if blocked or any(result.outcome is Outcome.FAILED for result in results):
        return EXIT_FAILED
    return EXIT_BUSY if any(action.in_use for action in plan.actions) else 0


@cli.command()
@_plan_options
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if anything would be done.")
@click.option("--no-diff", is_flag=True, help="Leave out the diffs of guest files.")
def plan(
    *,
    detailed_exitcode: bool,
    no_diff: bool,
    as_json: bool,
    verbose: bool,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Print what apply would do, and why; change nothing."""
    from bangerbuild import apply as flow

    made = flow.make_plan(_request(**wanted), _warn)
    _print_plan(made, as_json=as_json, verbose=verbose, diffs=not no_diff)
    pending = any(action.verb is not Verb.KEEP for action in made.actions)
    return EXIT_PENDING if detailed_exitcode and pending else 0


def _print_plan(plan: Plan, *, as_json: bool, verbose: bool, diffs: bool = True) -> None:
    if as_json:
        _print_json(report.plan_json(plan))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for line in report.plan_lines(plan, in_full=verbose, diffs=diffs, coloured=coloured):
        _print(line)


@cli.command()
@_manifest_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(*, as_json: bool, **wanted: Any) -> None:  # noqa: ANN401  # the options that make a Request
    """Print the state, size and base of each artifact.

    Those of VMs that no manifest declares are listed too.
    """
    from bangerbuild import apply as flow
    from bangerbuild import status as statuses

    plan, found = flow.look(_request(**wanted), _warn)
    examined = statuses.examine(plan, found)
    if as_json:
        artifacts = [one.to_json() for one in examined]
        _print_json({"format": 1, "store": str(plan.store), "artifacts": artifacts})
        return
    for line in statuses.lines(examined):
        _print(line)


@cli.command()
@_manifest_options
def validate(**wanted: Any) -> None:  # noqa: ANN401  # the options that make a Request
    """Check the manifest: prints its problems, or nothing."""
    from bangerbuild import apply as flow

    flow.load_graph(_request(**wanted), _warn)


@cli.command()
@_manifest_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "dot", "mermaid", "json"]),
    default="text",
    show_default=True,
)
def graph(form: str, **wanted: Any) -> None:  # noqa: ANN401  # the options that make a Request
    """Print the steps and what each needs."""
    from bangerbuild import apply as flow
    from bangerbuild import graph as graphs

    _, made = flow.load_graph(_request(**wanted), _warn)
    if form == "json":
        _print_json(graphs.to_json(made))
        return
    _print(graphs.RENDERERS[form](made), newline=False)


@cli.command()
def schema() -> None:
    """Print the manifest's JSON Schema, for editors."""
    from bangerbuild import manifest

    _print(manifest.schema_text(), newline=False)


def _disk_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """A disk and a path inside it."""
    for option in reversed(
        (
            click.argument("disk", type=click.Path(path_type=Path)),
            click.argument("guest_path"),
            click.option(
                "--base",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="The image under a snapshot, where no record names it.",
            ),
        )
    ):
        function = option(function)
    return function


@cli.command()
@_disk_arguments
@click.option("-l", "--long", "in_full", is_flag=True, help="Modes, owners, sizes and times too.")
def ls(disk: Path, guest_path: str, base: Path | None, *, in_full: bool) -> None:
    """List what is in a directory of a disk.

    DISK is a raw ext4, or a snapshot whose base is found through its record.
    """
    from bangerbuild import browse

    with browse.opened(disk, base, warn=_warn) as filesystem:
        for line in browse.listing(filesystem, guest_path, in_full=in_full):
            if not _print(os.fsencode(line)):
                break


@cli.command()
@_disk_arguments
def cat(disk: Path, guest_path: str, base: Path | None) -> None:
    """Print a file that is on a disk.

    DISK is a raw ext4, or a snapshot whose base is found through its record.
    """
    from bangerbuild import browse

    with browse.opened(disk, base, warn=_warn) as filesystem:
        for piece in browse.content(filesystem, guest_path):
            if not _print(piece, newline=False):
                break


def _warn(message: str) -> None:
    _say([f"warning: {message}"])


@cli.command()
def doctor() -> int:
    """Say what this host has and lacks, and how to get it."""
    from bangerbuild import doctor as examination

    findings = examination.examine()
    for line in examination.lines(findings):
        _print(line)
    return EXIT_FAILED if any(finding.needed and not finding.found for finding in findings) else 0


def _request(  # noqa: PLR0913  # one parameter for each option
    manifest: tuple[Path, ...],
    *,
    store: Path | None,
    targets: tuple[str, ...],
    replace: tuple[str, ...] = (),
    offline: bool = False,  # noqa: ARG001  # no source that is built today uses the network
    locked: bool = False,
) -> Request:
    from bangerbuild.apply import Request

    if locked:
        raise UsageError(
            "--locked is not supported yet: there is no lock file to hold the manifest to",
            hint="leave --locked out; every source of today is a file beside the manifest",
        )
    return Request(manifest or (Path(DEFAULT_MANIFEST),), store, targets, replace)


def _print_json(document: dict[str, Any]) -> None:
    _print(json.dumps(document, indent=2))
