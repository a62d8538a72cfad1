"""The command line, with click. Results go to stdout, all else to stderr.

Each command imports what it needs when it runs: loading networkx and jsonschema takes longer than most
commands take to work.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild import report, shortages
from bangerbuild.cli import (
    browsing,
    clustering,
    completing,
    explaining,
    helping,
    images,
    locking,
    machines,
    options,
    output,
    saved_plans,
    sharing,
    showing,
    tracing,
    upkeep,
)
from bangerbuild.cli.output import EXIT_BUSY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PENDING, EXIT_USAGE
from bangerbuild.errors import BangerError, ManifestError, StoreError, UsageError
from bangerbuild.model import Verb, phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from bangerbuild.errors import Problem
    from bangerbuild.model import Plan, Result
    from bangerbuild.pipeline import Loaded
    from bangerbuild.running.at_once import Again


def run(started: Again | None = None) -> int:
    """Run the command line and return the exit code; all output is flushed.

    `started` is the VM that was started before this was loaded, if it was.

    Threads of an interrupted run may still work in the staging directory. The caller exits without waiting
    for them.
    """
    gc.disable()  # a run has up to a million values, frozen and without reference cycles
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup(1) has set it to be ignored
        signal.signal(signal.SIGHUP, _interrupt)
    output.open_closed_streams()
    output.ignore_stderr_errors()
    code = _guarded(started)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        output.drop_output()
    except OSError as err:
        output.drop_output()
        output.say([f"error: can't print the result: {(err.strerror or str(err)).lower()}"])
        code = code or EXIT_FAILED
    sys.stderr.flush()
    return code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _guarded(started: Again | None) -> int:
    try:
        code = cli.main(prog_name="bangerbuild", standalone_mode=False, obj=started)
    except click.ClickException as err:
        if isinstance(
            err, getattr(click.exceptions, "NoArgsIsHelpError", ())
        ):  # its message is the help text
            err.show()
        else:
            lines = list(_usage_lines(err))
            output.error(BangerError(lines[-1].removeprefix("error: ")), lines)
        return EXIT_USAGE if isinstance(err, click.UsageError) else EXIT_FAILED
    except BangerError as err:
        output.error(err, report.error_lines(err))
        return err.exit_code
    except (KeyboardInterrupt, click.Abort) as err:
        if isinstance(err.__cause__, EOFError):  # of a module that a power cut left by half, or a bug
            raise err.__cause__ from None
        output.say_interrupted()
        output.error_result(BangerError("interrupted"))
        return EXIT_INTERRUPTED
    except (OSError, MemoryError, RuntimeError, ImportError) as err:
        output.say(report.error_lines(_host_error(err)))
        return EXIT_FAILED
    return int(code or 0)


def _host_error(err: Exception) -> BangerError:
    """The error of a host that lacks what the program needs; any other is a bug, and raised."""
    shortage = shortages.find(err)
    if shortage is not None:
        return BangerError(shortage.brief, hint=shortage.hint)
    if not isinstance(err, OSError):
        raise err
    place = f"'{err.filename}': " if err.filename else ""
    return BangerError(f"{place}{(err.strerror or str(err)).lower()}")


def _usage_lines(err: click.ClickException) -> Iterator[str]:
    """The message of click in the format of all other errors."""
    context = err.ctx if isinstance(err, click.UsageError) else None
    if context is not None:
        yield context.get_usage()
    message = err.format_message()
    yield f"error: {message[:1].lower()}{message[1:].removesuffix('.')}"


def _print_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001
    if wanted and not context.resilient_parsing:
        from bangerbuild import __version__

        output.result(f"bangerbuild, version {__version__}")
        context.exit()


@click.group(
    cls=options.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Build the disks of microVMs from a TOML manifest, without root.

    MANIFEST is vm.toml in the current directory unless one is named; several act as one.
    """


@cli.command()
@options.plan_options
@options.cluster
@options.jobs
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, do what does not depend on it.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and do nothing.")
@options.lock_timeout
@click.option("-q", "--quiet", is_flag=True, help="Errors and warnings only.")
@click.option("--push", "pushes", is_flag=True, help="Then push the images to the registry of [cache].")
@tracing.option
def apply(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    lock_timeout: float,
    quiet: bool,
    pushes: bool,
    trace_file: Path | None,
    as_json: bool,
    verbose: bool,
    cluster: str | None,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Bring the store to what the manifest declares.

    A file of `plan --out` may be named in place of a manifest: exactly that plan is done, or nothing.
    """
    import bangerbuild
    from bangerbuild.commands import status as statuses
    from bangerbuild.model.request import RunOptions
    from bangerbuild.report.reporters import reporter

    begun = time.monotonic()
    asked = saved_plans.asked(wanted, cluster)
    trace = tracing.begun(trace_file, dry_run=dry_run, cluster=cluster)
    if cluster is not None:
        return clustering.apply(
            cluster,
            wanted,
            jobs=jobs,
            keep_going=keep_going,
            dry_run=dry_run,
            lock_timeout=lock_timeout,
            quiet=quiet,
            pushes=pushes,
            as_json=as_json,
            verbose=verbose,
        )
    with phase(trace, "load"):
        loaded = options.loaded(**asked.wanted)
    check = asked.check(loaded)
    if pushes:
        sharing.check_target(loaded)
    if dry_run:
        return _show_plan(loaded, check, as_json=as_json, verbose=verbose)
    run_options = RunOptions(options.number(jobs), keep_going, lock_timeout, previews=as_json or verbose)
    with reporter(quiet=quiet, verbose=verbose, complete=output.completed) as telling:
        told = tracing.told(telling, trace)
        try:
            plan, results = bangerbuild.apply(loaded, options=run_options, reporter=told, check=check)
        except KeyboardInterrupt:
            by_half = statuses.by_half(telling.plan.store) if telling.plan else ()
            output.say_interrupted(telling.finished_ids, by_half)
            output.error_result(BangerError(report.interrupted(telling.finished_ids, by_half)))
            return EXIT_INTERRUPTED
        except StoreError:  # the run has ended before all jobs had told what became of their disks
            for disk in statuses.by_half(telling.plan.store) if telling.plan else ():
                output.warn(
                    f"'{disk}' was left by half: start no VM on it before the next `bangerbuild apply`"
                )
            raise
    with phase(trace if pushes else None, "push"):
        pushed = sharing.push_built(loaded, plan, results, quiet=quiet or as_json) if pushes else None
    if as_json:
        extra = {} if pushed is None else {"pushed": pushed}
        output.json_result({**report.plan_json(plan, results), **extra})
    elif not quiet:
        output.result(report.result_sum(plan, results, time.monotonic() - begun))
    return _exit_code(plan, results)


def _show_plan(loaded: Loaded, check: Callable[[Plan], None] | None, *, as_json: bool, verbose: bool) -> int:
    from bangerbuild.report.formats import FORMATS, Shown

    made = _made_plan(loaded)
    if check:
        check(made)
    output.plan_result(made, FORMATS["json" if as_json else "text"], Shown(in_full=verbose))
    return 0


def _exit_code(plan: Plan, results: Sequence[Result]) -> int:
    codes = {result.error.exit_code for result in results if result.error is not None}
    if codes - {EXIT_BUSY} or any(action.verb is Verb.BLOCKED for action in plan.actions):
        return EXIT_FAILED
    return EXIT_BUSY if codes or any(action.in_use for action in plan.actions) else 0


def _made_plan(loaded: Loaded) -> Plan:
    """The plan; what has to be fetched for it is shown in plain lines."""
    import bangerbuild
    from bangerbuild.report.reporters import Plain

    return bangerbuild.plan(loaded, progress=Plain(verbose=False).progressed)


@cli.command()
@options.plan_options
@options.cluster
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if anything would be done.")
@click.option("--no-diff", is_flag=True, help="Leave out the diffs of guest files.")
@options.plan_format
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the plan, so that `apply FILE` does exactly that.",
)
def plan(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    detailed_exitcode: bool,
    no_diff: bool,
    out: Path | None,
    form: str | None,
    as_json: bool,
    verbose: bool,
    cluster: str | None,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Print what apply would do, and why; change nothing."""
    from bangerbuild import pipeline
    from bangerbuild.report.formats import Shown

    chosen = options.chosen_format(form, as_json=as_json)
    if cluster is not None:
        if out:
            raise UsageError("--out saves the plan of one store", hint="leave it out, or name one --node")
        shown = Shown(in_full=verbose, diffs=not no_diff)
        return clustering.plan(cluster, wanted, chosen, shown, is_detailed=detailed_exitcode)
    loaded = saved_plans.to_be_saved(out, wanted)
    made = _made_plan(loaded)
    if out:
        saved_plans.save(out, made)
    shown = Shown(in_full=verbose, diffs=not no_diff, places=lambda: pipeline.places(loaded))
    output.plan_result(made, chosen, shown)
    pending = any(action.verb is not Verb.KEEP for action in made.actions)
    return EXIT_PENDING if detailed_exitcode and pending else 0


@cli.command()
@options.manifest_options
@options.node
@options.cluster
@options.as_json
@click.option("-v", "--verbose", is_flag=True, help="A row for each file, with its base.")
def status(*, as_json: bool, verbose: bool, cluster: str | None, **wanted: Any) -> int:  # noqa: ANN401  # the options of a Request
    """Print the state of each VM, image and network.

    Below are the totals. VMs that no manifest declares are listed too. A VM has the state of its worst file.
    VMs of a fleet that are in the same state have one row, with the sums of their sizes.
    """
    from bangerbuild.commands import status as statuses
    from bangerbuild.commands import status_table as tables

    if cluster is not None:
        return clustering.status(cluster, wanted, verbose=verbose, as_json=as_json)
    found = statuses.look(options.request(**wanted), output.warn, output.warn_of)
    if as_json:
        artifacts = [one.to_json() for one in found.artifacts]
        output.json_result({"format": 1, "store": str(found.store), "artifacts": artifacts})
        return 0
    rows = tables.file_lines(found.artifacts) if verbose else tables.lines(found.artifacts, found.fleets)
    output.results(rows)
    return 0


cli.add_command(machines.boot)
cli.add_command(machines.ssh)
cli.add_command(machines.logs)
cli.add_command(machines.ps)
cli.add_command(machines.stop)
cli.add_command(upkeep.verify)


@cli.command()
@options.manifest_options
@options.as_json
@options.plan_format
@click.option("--no-sources", is_flag=True, help="Files of this host need not be there: tarballs, keys.")
@click.option("--each", is_flag=True, help="Check each manifest alone, instead of all as one.")
def validate(
    *,
    as_json: bool,
    form: str | None,
    no_sources: bool,
    each: bool,
    **wanted: Any,  # noqa: ANN401  # as for the others
) -> None:
    """Check the manifest: prints its problems, or nothing."""
    from bangerbuild import pipeline

    chosen = options.chosen_format(form, as_json=as_json)
    manifests = wanted.pop("manifest")
    problems: list[Problem] = []
    for one in [(path,) for path in manifests] if each and manifests else [manifests]:
        try:
            pipeline.load_request(options.request(one, **wanted), output.warn, needs_files=not no_sources)
        except ManifestError as err:
            problems += err.problems
    if problems:
        raise ManifestError(tuple(dict.fromkeys(problems)))  # two may include the same file
    if chosen.is_json:
        output.json_result({"format": 1})


@cli.command()
@options.manifest_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "dot", "mermaid", "json", "svg", "html"]),
    default="text",
    show_default=True,
    help="svg is drawn by Graphviz; html is a page with all that is known of each step.",
)
@click.option("-v", "--verbose", is_flag=True, help="Each VM, also where many have the same steps.")
def graph(form: str, *, verbose: bool, **wanted: Any) -> None:  # noqa: ANN401  # the options of a Request
    """Print the steps and what each needs.

    Many VMs with the same steps are drawn as one, but in JSON.
    """
    from bangerbuild import graph as graphs
    from bangerbuild import pipeline, store
    from bangerbuild.commands.pictures import page, svg
    from bangerbuild.report import pictures

    loaded = pipeline.load_to_read(options.request(**wanted), output.warn, output.warn_of)
    made = loaded.wanted
    if not loaded.is_read:
        made = graphs.of_records(store.read(loaded.store).records.values(), wanted["targets"])
    if form == "json":
        output.json_result(pictures.to_json(made))
        return
    if form == "svg":
        output.result(svg.svg(made, loaded.manifest.fleets), newline=False)
        return
    if form == "html":
        steps = graphs.ordered(made)
        text = page.of_steps(steps)
        if loaded.is_read:
            text = page.of_plan(pipeline.look_leniently(loaded, output.warn, previews=True)[0])
        output.result(text, newline=False)
        return
    output.result(pictures.RENDERERS[form](made, in_full=verbose), newline=False)


cli.add_command(explaining.explain)
cli.add_command(showing.show)


@cli.command()
def schema() -> None:
    """Print the manifest's JSON Schema, for editors."""
    from bangerbuild import manifest

    output.result(manifest.schema_text(), newline=False)


cli.add_command(browsing.ls)
cli.add_command(browsing.cat)
cli.add_command(locking.lock)
cli.add_command(sharing.push)
cli.add_command(sharing.pull)
cli.add_command(images.image)
cli.add_command(upkeep.gc)
cli.add_command(upkeep.destroy)
cli.add_command(upkeep.recover)


@cli.command()
def doctor() -> int:
    """Say what this host has and lacks, and how to get it."""
    from bangerbuild.commands import doctor as examination

    findings = examination.examine()
    for line in examination.lines(findings):
        output.result(line)
    return EXIT_FAILED if any(finding.needed and not finding.found for finding in findings) else 0


cli.add_command(completing.completion)
cli.add_command(helping.help_)
