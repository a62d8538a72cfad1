"""`apply --trace FILE`: the file is opened before the run, and written whatever becomes of that."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bangerbuild.cli import output
from bangerbuild.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import PlanReporter
    from bangerbuild.report.trace import Trace

option = click.option(
    "--trace",
    "trace_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the time was spent on, for a trace viewer such as Perfetto.",
)


def begun(path: Path | None, *, dry_run: bool, cluster: str | None) -> Trace | None:
    """The trace of the current command, which is written when that ends; None if none is asked for.

    Raises:
        UsageError: it can't be written there, or nothing is run, or by other machines.
    """
    if path is None:
        return None
    if dry_run:
        raise UsageError("--trace is of a run, and -n runs nothing", hint="leave one of them out")
    if cluster is not None:
        raise UsageError(
            "--trace is of this machine, and with --cluster others do the work", hint="leave one of them out"
        )
    return click.get_current_context().with_resource(_written(path))


def told(telling: PlanReporter, trace: Trace | None) -> PlanReporter:
    """The reporter of a run: the given one, and the trace beside it if there is one."""
    if trace is None:
        return telling
    from bangerbuild.report.trace import Traced

    return Traced(telling, trace)


@contextmanager
def _written(path: Path) -> Iterator[Trace]:
    from bangerbuild import __version__
    from bangerbuild.report import trace

    file, collected = trace.opened(path), trace.Trace()
    try:
        yield collected
    finally:
        try:
            trace.write(collected, file, __version__)
        except OSError as err:
            output.warn(f"the trace '{path}' can't be written: {(err.strerror or str(err)).lower()}")
