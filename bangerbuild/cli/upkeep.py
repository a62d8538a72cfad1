"""The commands that look after a store: `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import options, output
from bangerbuild.cli.output import EXIT_BUSY, EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@options.manifest_options
@options.as_json
@options.jobs
@options.lock_timeout
@click.option("--rebuild", is_flag=True, help="Make images again, in staging, and compare.")
def verify(
    *,
    as_json: bool,
    jobs: int | None,
    lock_timeout: float,
    rebuild: bool,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Check whether what lies in the store is sound.

    Disks, images, launch files and the files written into guests are read, and nothing is changed. Disks
    that somebody has open are left out and listed.
    """
    from bangerbuild import apply as flow
    from bangerbuild import verify as verification
    from bangerbuild.verify.check import Check, Finding

    def tell(checks: Sequence[Check]) -> None:
        if not as_json:
            for line in verification.lines(checks):
                output.result(line)

    manner = flow.Manner(options.number(jobs), lock_seconds=lock_timeout)
    store, checks = verification.verify(options.request(**wanted), manner, tell, output.warn, again=rebuild)
    if as_json:
        output.json_result(verification.to_json(store, checks))
    else:
        output.result(verification.summary_line(checks))
    results = {check.result for check in checks}
    return EXIT_FAILED if Finding.FAILED in results else EXIT_BUSY if Finding.IN_USE in results else 0
