"""Where the program starts: an answer or a start that can be had at once, else the command line."""

from __future__ import annotations

import os
import sys

from bangerbuild.uptodate import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bangerbuild.running.at_once import Again


def main() -> None:
    """Run the command line and exit with its code."""
    if tuple(sys.argv[1:3]) == ("completion", "answer"):
        from bangerbuild.completion import answering  # noqa: PLC0415  # of no use to other commands

        answering.main(sys.argv[3:])
        os._exit(0)
    started = None
    try:
        is_answered = check.answer(sys.argv[1:])
        if sys.argv[1:2] == ["boot"]:
            started = _started()
    except KeyboardInterrupt:
        from bangerbuild.cli import output  # noqa: PLC0415  # as below

        output.say_interrupted()
        os._exit(output.EXIT_INTERRUPTED)
    code = 0
    if not is_answered:
        code = _run_command_line(started)
    os._exit(code)  # all is written; taking the interpreter apart takes 3 ms, and 0.1 s after a thousand VMs


def _run_command_line(started: Again | None) -> int:
    try:
        from bangerbuild import cli  # noqa: PLC0415  # click is what the fast answer does without
    except (MemoryError, OSError, ImportError) as err:
        from bangerbuild import shortages  # noqa: PLC0415

        shortage = shortages.find(err)
        if shortage is None:
            raise
        sys.stderr.write(f"error: {shortage.brief}\n  hint: {shortage.hint}\n")
        return 1
    return cli.run(started)


def _started() -> Again | None:
    from bangerbuild.running import at_once  # noqa: PLC0415  # of no use to other commands

    return at_once.started(sys.argv[1:])
