"""Printing: results to stdout, all else to stderr, and what becomes of streams that are closed or full."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from bangerbuild import report
from bangerbuild.cli import output
from bangerbuild.errors import Problem, UsageError
from bangerbuild.given import Given
from tests import PROJECT


def run(code: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """Python code that has `output`, in a process of its own."""
    script = f"import sys\nfrom bangerbuild.cli import output\n{code}"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]  # the streams are a table
        [sys.executable, "-c", script], text=True, check=False, env=environment, **options
    )


def test_a_result_goes_to_stdout_and_what_is_said_to_stderr() -> None:
    done = run("output.result('a')\noutput.say(['b', 'c'])\noutput.warn('d')")
    assert (done.stdout, done.stderr) == ("a\n", "b\nc\nwarning: d\n")


def test_bytes_are_printed_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert output.result(b"\x00\xff\n", newline=False)
    assert capfdbinary.readouterr().out == b"\x00\xff\n"


def test_what_is_said_does_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(["'\x1b[31m'"])
    assert capsys.readouterr().err == "'\\x1b[31m'\n"


def test_a_document_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.begin(Given())
    output.json_result({"a": [1, None]}, told=False)
    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}


def test_a_document_has_what_was_warned_of_before(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem("vm.toml", 3, "vm.web", "is wrong", "bangerbuild gc removes it")
    output.begin(Given(("a.toml",)))
    output.warn("see `bangerbuild plan`")
    output.warn_of(problem)
    output.json_result({"a": 1})
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "a": 1,
        "problems": [report.problem_json(problem) | {"hint": "bangerbuild gc a.toml removes it"}],
        "warnings": ["see `bangerbuild plan a.toml`"],
    }
    assert said.err == (
        "warning: see `bangerbuild plan a.toml`\n"
        "warning: vm.toml:3: vm.web: is wrong; hint: bangerbuild gc a.toml removes it\n"
    )
    output.begin(Given())
    output.json_result({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1, "problems": [], "warnings": []}


def test_a_reader_that_has_gone_is_told_and_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("print(output.result('a' * 100_000), output.result('b'), file=sys.stderr)", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr.split()[0]) == (0, "False")


def test_a_result_that_can_not_be_printed_is_an_error() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device
        done = run("output.result('a')", stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("can't print the result: no space left on device")


def test_errors_of_stderr_are_nobodys_business() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device
        done = run("output.ignore_stderr_errors()\noutput.say(['a'] * 9)\noutput.result('done')", stderr=full)
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_a_stream_that_ignores_errors_is_the_stream_otherwise() -> None:
    under = io.StringIO()
    stream = output.BestEffortStream(under)
    assert (stream.write("text"), under.getvalue()) == (4, "text")
    assert not stream.isatty()


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_no_other_file_gets_the_number_of_a_stream_that_is_closed(closed: str) -> None:
    code = (
        "import os\noutput.open_closed_streams()\n"
        "fd = os.open('/', os.O_RDONLY)\nassert fd > 2, fd\n"
        "assert None not in (sys.stdin, sys.stdout, sys.stderr)\n"
    )
    script = f'exec "$0" -c "$1" {closed}>&-'
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [
        "/bin/sh",
        "-c",
        script,
        sys.executable,
        f"import sys\nfrom bangerbuild.cli import output\n{code}",
    ]
    assert subprocess.run(command, env=environment, check=False, stdin=subprocess.DEVNULL).returncode == 0


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match="nobody can be asked here") as caught:
        output.ask("Really?", hint="--yes")
    assert caught.value.hint == "say --yes"


@pytest.mark.parametrize(("answer", "is_yes"), [("y\n", True), ("\n", False), ("n\n", False)])
def test_a_question_is_answered_with_no_unless_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, answer: str, *, is_yes: bool
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert output.ask("Really?", hint="--yes") == is_yes
