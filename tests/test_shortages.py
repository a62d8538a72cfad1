"""Limits of the host: one message that says what ran out and what to raise, and nothing half done."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild import shortages
from bangerbuild.disk import in_use
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.host import process
from bangerbuild.shortages import DESCRIPTORS, FILE_SIZE, MEMORY, TASKS
from tests import PROJECT
from tests.need import need
from tests.unprivileged import let_others_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import CommandLine

MANIFEST = """
[image.a.rootfs]
directory = "tree"
[vm.a]
image = "a"
work.size = "24MiB"
file = [{{ guest = "/etc/text", content = "{content}" }}, {{ guest = "~/text", content = "{content}" }}]
"""
AS_ANOTHER_USER = (
    *("--reuid=54321", "--clear-groups", "--bounding-set=-all,+dac_override,+fowner,+chown"),
    *("--inh-caps=-all,+dac_override,+fowner,+chown", "--ambient-caps=+dac_override,+fowner,+chown"),
)
"""Root has no limit of processes."""


def raised(brief: str, err: BaseException) -> BangerError:
    found = BangerError(brief, hint="what is best otherwise")
    found.__cause__ = err
    return found


@pytest.mark.parametrize(
    ("err", "shortage"),
    [
        (OSError(errno.EMFILE, "too many open files"), DESCRIPTORS),
        (OSError(errno.ENFILE, "too many open files in system"), DESCRIPTORS),
        (OSError(errno.ENOMEM, "cannot allocate memory"), MEMORY),
        (OSError(errno.EFBIG, "file too large"), FILE_SIZE),
        (OSError("libext2fs.so.2: failed to map segment from shared object"), MEMORY),
        (OSError("libext2fs.so.2: cannot open shared object file: Error 24"), DESCRIPTORS),
        (MemoryError(), MEMORY),
        (RuntimeError("can't start new thread"), TASKS),
        (ToolError("'e2fsck' failed with exit code 8", details="e2fsck: Memory allocation failed"), MEMORY),
        (ToolError("'mke2fs' was ended by SIGXFSZ"), FILE_SIZE),
        (ToolError("'mke2fs' can't be started: resource temporarily unavailable"), TASKS),
        (FilesystemError("cannot open 'a'", code=errno.ENOMEM), MEMORY),
    ],
)
def test_what_ran_out_is_told_by_the_error_that_lies_below(err: Exception, shortage: object) -> None:
    assert shortages.find(err) is shortage
    assert raised("'a' can't be read", err).hint == getattr(shortage, "hint", None)


@pytest.mark.parametrize(
    "err",
    [OSError(errno.ENOENT, "no file"), BlockingIOError(errno.EAGAIN, "again"), RuntimeError("bug")],
)
def test_any_other_error_is_none_of_a_shortage(err: Exception) -> None:
    assert shortages.find(err) is None
    assert raised("'a' can't be read", err).hint == "what is best otherwise"


def limited(directory: Path, limits: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [need("prlimit", "util-linux"), *limits, sys.executable, "-m", "bangerbuild", "apply"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "root").mkdir()
    (tmp_path / "tree" / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "vm.toml").write_text(MANIFEST.format(content="first"))
    return tmp_path


LIMITS = [
    *((f"--nofile={number}", DESCRIPTORS) for number in (7, 12, 14, 16)),
    *((f"--as={mib << 20}", MEMORY) for mib in (64, 150)),
    *((f"--fsize={kib << 10}", FILE_SIZE) for kib in (1, 1000, 20000)),
]


def test_a_first_build_within_limits_ends_in_one_message_and_leaves_nothing_half_done(
    project: Path, cli: CommandLine
) -> None:
    told = set()
    for limit, shortage in LIMITS:
        done = limited(project, [limit])
        assert "Traceback" not in done.stderr, (limit, done.stderr)
        assert "not permitted" not in done.stderr, (limit, done.stderr)
        if done.returncode:
            assert (done.returncode, f"hint: {shortage.hint}" in done.stderr) == (1, True), (
                limit,
                done.stderr,
            )
            told.add(shortage.hint)
    assert told == {DESCRIPTORS.hint, MEMORY.hint, FILE_SIZE.hint}
    assert list((project / "build" / ".staging").iterdir()) == []
    assert cli("apply", cwd=project).returncode == 0
    assert cli("verify", cwd=project).returncode == 0


def test_a_change_of_disks_within_limits_is_done_or_not(project: Path, cli: CommandLine) -> None:
    assert cli("apply", cwd=project).returncode == 0
    for number, (limit, shortage) in enumerate(LIMITS):
        (project / "vm.toml").write_text(MANIFEST.format(content=f"{number}"))
        done = limited(project, [limit])
        assert "Traceback" not in done.stderr, (limit, done.stderr)
        assert done.returncode == 0 or f"hint: {shortage.hint}" in done.stderr, (limit, done.stderr)
    assert cli("apply", cwd=project).returncode == 0
    verified = cli("verify", cwd=project)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.root
@pytest.mark.parametrize("tasks", [1, 2])
def test_without_processes_or_threads_it_says_so(project: Path, tasks: int) -> None:
    let_others_in(project)
    project.chmod(0o777)
    limits = [f"--nproc={tasks}", need("setpriv", "util-linux"), *AS_ANOTHER_USER]
    done = limited(project, limits)
    assert "Traceback" not in done.stderr
    assert (done.returncode, TASKS.hint in done.stderr) == (1, True), done.stderr


def test_a_program_may_use_no_more_memory_than_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import resource, os; print(resource.getrlimit(resource.RLIMIT_AS)[1])"
    code = f"""
import resource, sys
from bangerbuild.host.process import Command, run
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
print(run(Command((sys.executable, "-c", {script!r}), memory_bytes=1 << 40)).output)
"""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(1 << 30), "")


def test_who_has_a_disk_open_is_not_taken_for_nobody_where_none_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.touch()

    def no_lease(*_arguments: object) -> int:
        raise PermissionError(errno.EACCES, "another's file")

    def no_room(*_arguments: object) -> object:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("fcntl.fcntl", no_lease)
    monkeypatch.setattr("pathlib.Path.iterdir", no_room)
    with pytest.raises(OSError, match="too many open files"):
        in_use.writer(disk)


def test_a_probe_that_can_not_be_started_is_a_tools_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object, **_more: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    process._die_with_parent.cache_clear()
    monkeypatch.setattr("subprocess.run", no_room)
    with pytest.raises(ToolError, match="can't be started: too many open files") as caught:
        process.run(process.Command(("true",)))
    assert caught.value.hint == DESCRIPTORS.hint
