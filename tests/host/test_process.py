from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ToolError
from bangerbuild.host import process
from bangerbuild.host.process import Command, run
from tests import PROJECT
from tests.waiting import assert_ends

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = "100000"


@pytest.fixture
def search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all there is to find programs in."""
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_what_a_program_prints_on_either_stream_is_kept_in_its_order() -> None:
    done = run(Command(("sh", "-c", "echo out; echo err >&2; echo more")))
    assert (done.code, done.output) == (0, "out\nerr\nmore\n")


def test_each_line_is_told_as_it_comes_and_the_last_without_its_end_too() -> None:
    told: list[str] = []
    reading, writing = os.pipe()

    def on_line(line: str) -> None:
        told.append(line)
        if line == "one":
            os.write(writing, b"go on\n")

    script = 'printf "one\ntw"; read answer < "$0"; printf "o\n\nend"'
    done = run(Command(("sh", "-c", script, f"/proc/{os.getpid()}/fd/{reading}"), on_line=on_line))
    os.close(reading)
    os.close(writing)
    assert (told, done.output) == (["one", "two", "", "end"], "one\ntwo\n\nend")


def test_bytes_that_are_no_text_do_not_break_the_output() -> None:
    assert run(Command(("printf", r"a\377b"))).output == "a\N{REPLACEMENT CHARACTER}b"


def test_a_program_has_nothing_to_read() -> None:
    assert run(Command(("cat",))).output == ""


def test_an_unexpected_exit_code_is_an_error_that_quotes_the_command_and_shows_its_output() -> None:
    with pytest.raises(ToolError) as caught:
        run(Command(("sh", "-c", "echo broken; exit 3")))
    assert caught.value.brief == "'sh -c 'echo broken; exit 3'' failed with exit code 3"
    assert caught.value.details == "broken"


def test_an_exit_code_that_is_fine_is_handed_back() -> None:
    assert run(Command(("sh", "-c", "exit 4"), ok=frozenset({0, 4}))).code == 4


@pytest.mark.parametrize(("program", "package"), [("mke2fs", "e2fsprogs"), ("jq", "jq")])
def test_a_missing_program_is_an_error_that_says_how_to_install_it(
    search_path: Path, program: str, package: str
) -> None:
    with pytest.raises(ToolError) as caught:
        run(Command((program, "-V")))
    assert caught.value.brief == f"'{program}' is not installed"
    assert caught.value.hint == f"apt install {package}"


def test_a_program_that_is_installed_later_is_found_then(search_path: Path) -> None:
    with pytest.raises(ToolError):
        process.find("mke2fs")
    (search_path / "mke2fs").write_text("#!/bin/sh\n")
    (search_path / "mke2fs").chmod(0o755)
    assert process.find("mke2fs") == str(search_path / "mke2fs")


def test_a_program_that_cannot_be_started_is_an_error_and_no_traceback(
    search_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (search_path / "mke2fs").write_text("#!/nowhere/at/all\n")
    (search_path / "mke2fs").chmod(0o755)
    monkeypatch.setattr(process, "_die_with_parent", tuple)
    with pytest.raises(ToolError, match="'mke2fs' can't be started: no such file or directory"):
        run(Command(("mke2fs",)))


def test_programs_outside_the_path_of_an_ordinary_user_are_found() -> None:
    assert process.SEARCH_PATH.endswith(":/usr/local/sbin:/usr/sbin:/sbin")


def test_nothing_of_the_callers_environment_leaks_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKE2FS_CONFIG", "/etc/strange.conf")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    printed = run(Command(("env",), env={"E2FSCK_TIME": "1"})).output
    assert sorted(printed.splitlines()) == ["E2FSCK_TIME=1", "LC_ALL=C", f"PATH={process.SEARCH_PATH}"]


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ToolError, match=r"'sleep 100000' did not end within 0\.05 s"):
        run(Command(("sleep", FOREVER), timeout_seconds=0.05))


def test_a_program_that_closes_its_output_and_stays_is_ended_too() -> None:
    with pytest.raises(ToolError, match=r"did not end within 0\.05 s"):
        run(Command(("sh", "-c", f"exec sleep {FOREVER} >&- 2>&-"), timeout_seconds=0.05))


def test_a_program_that_prints_without_end_is_ended() -> None:
    with pytest.raises(ToolError, match="'yes' printed more than 1000 bytes"):
        run(Command(("yes",), output_bytes=1000))


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    script = f"sleep {FOREVER} & echo $! > {tmp_path}/pid; yes"
    with pytest.raises(ToolError):
        run(Command(("sh", "-c", script), output_bytes=1000))
    assert_ends(int((tmp_path / "pid").read_text()))


def test_ending_all_programs_ends_those_that_other_threads_wait_for(fifo: Path) -> None:
    errors: list[ToolError] = []

    def work() -> None:
        try:
            run(Command(("sh", "-c", f"echo $$ > {fifo}; exec sleep {FOREVER}")))
        except ToolError as err:
            errors.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    pid = int(fifo.read_text())
    process.end_all()
    thread.join()
    assert_ends(pid)
    assert "was ended by SIGKILL" in errors[0].brief
    assert not process.RUNNING


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_program_dies_with_the_one_that_started_it(fifo: Path, number: signal.Signals) -> None:
    code = (
        "from bangerbuild.host.process import Command, run\n"
        f"run(Command(('sh', '-c', 'echo $$ > {fifo}; exec sleep {FOREVER}')))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL
    )
    pid = int(fifo.read_text())
    parent.send_signal(number)
    parent.wait()
    assert_ends(pid)


def test_a_host_without_setpriv_still_runs_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    process._die_with_parent.cache_clear()
    monkeypatch.setattr(process, "DIE_WITH_PARENT", ("there-is-no-such-setpriv",))
    try:
        assert process._die_with_parent() == ()
        assert run(Command(("echo", "a"))).output == "a\n"
    finally:
        process._die_with_parent.cache_clear()


def test_a_command_reads_as_one_would_type_it() -> None:
    assert str(Command(("e2fsck", "-fn", "a b.ext4"))) == "e2fsck -fn 'a b.ext4'"


def test_a_program_that_takes_more_memory_than_it_may_is_told_that_there_is_none() -> None:
    greedy = Command(("tail", "/dev/zero"), memory_bytes=64 << 20, timeout_seconds=60)
    with pytest.raises(ToolError, match="failed with exit code") as caught:
        run(greedy)
    assert "memory exhausted" in (caught.value.details or "")


def test_a_program_that_is_killed_by_a_signal_says_which() -> None:
    with pytest.raises(ToolError, match="was ended by SIGSEGV"):
        run(Command(("sh", "-c", "kill -SEGV $$")))
