"""Where the program starts: the fast answer if there is one, else the command line."""

from __future__ import annotations

import os
import sys

from bangerbuild.uptodate import check


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        is_answered = check.answer(sys.argv[1:])
    except KeyboardInterrupt:
        from bangerbuild.cli import output  # noqa: PLC0415  # as below

        output.say_interrupted()
        os._exit(output.EXIT_INTERRUPTED)
    code = 0
    if not is_answered:
        code = _run_command_line()
    os._exit(code)  # all is written; taking the interpreter apart takes 3 ms, and 0.1 s after a thousand VMs


def _run_command_line() -> int:
    try:
        from bangerbuild import cli  # noqa: PLC0415  # click is what the fast answer does without
    except (MemoryError, OSError, ImportError) as err:
        from bangerbuild import shortages  # noqa: PLC0415

        shortage = shortages.find(err)
        if shortage is None:
            raise
        sys.stderr.write(f"error: {shortage.brief}\n  hint: {shortage.hint}\n")
        return 1
    return cli.run()
