"""The fast answer as a user meets it: the words, streams and codes of the slow one, and sooner."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.uptodate import check, record
from tests import PROJECT
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.uptodate.project import Project

FAST = "import sys; from bangerbuild.entry import main; main()"
SLOW = "import sys; from bangerbuild.cli import run; sys.exit(run())"
OURS = {
    *("bangerbuild", "bangerbuild.entry", "bangerbuild.host", "bangerbuild.host.remembered"),
    *("bangerbuild.uptodate", *(f"bangerbuild.uptodate.{name}" for name in ("check", "command", "record"))),
}
AT_HAND = {"__future__", "fcntl", "zlib"}
"""Of the standard library: what takes a quarter of a millisecond each."""


def run(
    code: str, *arguments: str, source: Path = PROJECT, **options: object
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, by either way in."""
    command = [sys.executable, "-c", code, "apply", *arguments]
    environment = os.environ | {"PYTHONPATH": str(source)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, env=environment, text=True, check=False, **streams)  # type: ignore[call-overload,no-any-return]


def loaded(*arguments: str, source: Path = PROJECT, code: str = FAST) -> set[str]:
    """The modules that `apply` imports."""
    command = [sys.executable, "-X", "importtime", "-c", code, "apply", *arguments]
    environment = os.environ | {"PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, text=True, check=False, capture_output=True)
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def assert_alike(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Both ways print the same and end with the same code."""
    fast, slow = run(FAST, *arguments, **options), run(SLOW, *arguments, **options)  # type: ignore[arg-type]
    assert (fast.returncode, fast.stderr) == (slow.returncode, slow.stderr)
    if fast.stdout is not None:
        assert fast.stdout.rpartition(" in ")[0] == slow.stdout.rpartition(" in ")[0]
    return fast


@contextmanager
def alone_in(store: Path) -> Iterator[None]:
    """Somebody who removes what is of no use."""
    with (store / ".locks/store").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def eventually_fast(*arguments: str, source: Path = PROJECT) -> bool:
    """Whether runs come to be answered at once; a program that has just been written is not trusted yet."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if "click" not in loaded(*arguments, source=source):
            return True
    return False


def test_it_loads_next_to_nothing(built: Project) -> None:
    assert eventually_fast()
    assert loaded() - loaded(code="") == OURS | AT_HAND


@pytest.mark.parametrize(
    "arguments",
    [(), ("-q",), ("-j2", "-k"), ("--offline",), ("--locked",), ("--target", "vm.web"), ("vm.toml",)],
)
def test_both_ways_say_the_same(built: Project, arguments: tuple[str, ...]) -> None:
    assert eventually_fast(*arguments)
    done = assert_alike(*arguments)
    assert done.returncode == 0
    assert (" kept in " in done.stdout) == ("-q" not in arguments)


def test_what_is_odd_about_the_manifest_is_said_each_time(built: Project) -> None:
    text = (built.path / "vm.toml").read_text()
    (built.path / "vm.toml").write_text(text.replace("[vm.web]\n", "[vm.web]\nvcpus = 34\n"))
    assert eventually_fast()
    assert "Firecracker takes at most 32" in assert_alike("-q").stderr


def test_what_is_no_longer_declared_is_said_each_time(built: Project) -> None:
    manifest = built.path / "vm.toml"
    gone = '[vm.gone]\nimage = "tree"\nwork = false\n'
    manifest.write_text(manifest.read_text() + gone)
    assert eventually_fast()
    manifest.write_text(manifest.read_text().removesuffix(gone))
    assert eventually_fast()
    assert "vm.gone is no longer declared, and still in the store" in assert_alike().stderr
    assert "vm.gone" not in assert_alike("-q").stderr


def test_where_nothing_is_declared_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vm.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert eventually_fast()
    assert assert_alike().stdout.startswith("nothing to do in ")


def test_a_result_that_cant_be_printed_is_an_error_and_one_nobody_reads_is_none(built: Project) -> None:
    assert eventually_fast()
    with Path("/dev/full").open("w") as full:
        assert assert_alike(stdout=full).returncode == 1
    reader, writer = os.pipe()
    os.close(reader)
    assert assert_alike(stdout=writer).returncode == 0
    os.close(writer)


def test_the_result_is_told_although_nobody_reads_the_warnings(built: Project) -> None:
    text = (built.path / "vm.toml").read_text()
    (built.path / "vm.toml").write_text(text.replace("[vm.web]\n", "[vm.web]\nvcpus = 34\n"))
    assert eventually_fast()
    reader, writer = os.pipe()
    os.close(reader)
    assert " kept in " in assert_alike(stderr=writer).stdout
    with Path("/dev/full").open("w") as full:
        assert " kept in " in assert_alike(stderr=full).stdout
    os.close(writer)


@pytest.mark.parametrize("fd", [0, 1, 2])
def test_a_closed_stream_is_left_to_the_slow_way(built: Project, fd: int) -> None:
    assert eventually_fast()
    fast, slow = (
        subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" "$@" {fd}>&-', sys.executable, "-c", code, "apply"],
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            check=False,
            capture_output=True,
            text=True,
        )
        for code in (FAST, SLOW)
    )
    assert (fast.returncode, fast.stderr) == (slow.returncode, slow.stderr)


def test_a_store_from_which_somebody_removes_things_is_waited_for(built: Project) -> None:
    assert eventually_fast()
    with alone_in(built.store):
        done = assert_alike("--lock-timeout", "0")
    assert done.returncode == 4
    assert "is locked by" in done.stderr


def test_a_time_that_is_none_is_refused(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert eventually_fast()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert assert_alike().returncode == 3


def test_another_mke2fs_on_the_path_is_asked_what_it_is(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    run(SLOW)
    assert eventually_fast()
    (tmp_path / "bin/mke2fs").write_text("#!/bin/sh\necho no version of mine\n")
    (tmp_path / "bin/mke2fs").chmod(0o755)
    assert "mke2fs does not say its version" in assert_alike().stderr


def test_another_version_of_this_program_answers_for_itself(project: Project, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        PROJECT / "bangerbuild", source / "bangerbuild", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(PROJECT / "schemas", source / "schemas")
    run(SLOW, source=source)
    assert eventually_fast(source=source)
    assert "click" in loaded()  # the one in the checkout
    assert eventually_fast(source=source)
    with (source / "bangerbuild/steps/root.py").open("a") as file:
        file.write("\n")
    assert "click" in loaded(source=source)
    assert eventually_fast(source=source)
    (source / "schemas/manifest.schema.json").write_text("{")
    assert run(FAST, source=source).returncode != 0


def test_all_other_commands_are_as_they_were(built: Project) -> None:
    assert eventually_fast()
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    for arguments in (["apply", "--json"], ["plan"], ["apply", "-n"], ["--version"], []):
        fast, slow = (
            subprocess.run(
                [sys.executable, "-c", code, *arguments],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
            for code in (FAST, SLOW)
        )
        assert (fast.returncode, fast.stderr) == (slow.returncode, slow.stderr)
        if "--json" not in arguments:
            assert fast.stdout == slow.stdout


# what else a plan depends on


@pytest.mark.parametrize("variable", check.VARIABLES)
def test_a_variable_that_matters_ends_the_answer(
    built: Project, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1700000000")
    assert not built.is_current()


def test_another_user_gets_no_answer(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [*os.getgroups(), 4711]
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    assert not built.is_current()


def test_another_directory_gets_none(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.path / "more")
    assert record.found(built.asked().key) is None


SECRETS = """
[[vm.raw.file]]
guest = "/etc/token"
content = { env = "TOKEN" }
[[vm.raw.file]]
guest = "/etc/other"
content = { file = "token" }
"""


def with_secrets(project: Project, more: str = SECRETS) -> None:
    manifest = project.path / "vm.toml"
    manifest.write_text(manifest.read_text().replace("[vars]", f"{more}\n[vars]"))
    (project.path / "token").write_text("second")
    project.apply()


def test_a_secret_that_changed_is_seen_and_the_record_does_not_hold_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "a-first-secret")
    with_secrets(project)
    for _ in range(20):
        project.apply()  # once what was written is old enough to be trusted
        if project.is_current():
            break
    assert project.is_current()
    found = record.found(project.asked().key)
    assert found is not None
    assert b"a-first-secret" not in record.dumped(found)
    monkeypatch.setenv("TOKEN", "another")
    assert not project.is_current()
    monkeypatch.delenv("TOKEN")
    assert not project.is_current()
    monkeypatch.setenv("TOKEN", "a-first-secret")
    assert project.is_current()
    (project.path / "token").write_text("third")
    assert not project.is_current()


def test_with_a_lost_key_nothing_is_told_the_fast_way(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "a-first-secret")
    with_secrets(project)
    (project.store / ".secrets-key").unlink()
    assert not project.is_current()


def test_what_a_command_prints_is_never_taken_to_be_the_same(project: Project) -> None:
    with_secrets(project, '[[vm.raw.file]]\nguest = "/etc/token"\ncontent = { command = ["date"] }\n')
    project.apply()
    assert record.found(project.asked().key) is None
