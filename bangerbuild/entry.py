"""Where the program starts: the fast answer if there is one, else the command line."""

from __future__ import annotations

import os
import sys

from bangerbuild.current import check


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        is_answered = check.answer(sys.argv[1:])
    except KeyboardInterrupt:
        from bangerbuild.cli import output  # noqa: PLC0415  # as below

        output.say_interrupted()
        os._exit(output.EXIT_INTERRUPTED)
    if is_answered:
        os._exit(0)  # all is written, and taking the interpreter apart takes 3 ms
    from bangerbuild import cli  # noqa: PLC0415  # click is what the fast answer does without

    cli.main()
