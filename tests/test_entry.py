"""The start: the fast answer if there is one, else the command line; the exit code is that of either."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import PROJECT

SCRIPT = """
import sys
from bangerbuild import entry
from bangerbuild.uptodate import check
def answer(arguments):
    {answer}
check.answer = answer
sys.argv = ["bangerbuild", *sys.argv[1:]]
entry.main()
"""


def started(answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(answer=answer), *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_answered_at_once_needs_no_command_line() -> None:
    done = started(
        "print('answered', arguments, flush=True); return 'click' not in sys.modules", "apply", "-q"
    )
    assert (done.returncode, done.stdout) == (0, "answered ['apply', '-q']\n")


@pytest.mark.parametrize(("arguments", "code"), [(["schema"], 0), (["--no-such-option"], 3)])
def test_all_else_is_the_command_lines_with_its_exit_code(arguments: list[str], code: int) -> None:
    assert started("return False", *arguments).returncode == code


def test_ctrl_c_during_the_fast_answer_ends_as_it_does_later() -> None:
    done = started("raise KeyboardInterrupt", "apply")
    assert done.returncode == 130
    assert done.stderr.startswith("interrupted")
    assert "Traceback" not in done.stderr
