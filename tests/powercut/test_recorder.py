"""What is recorded is what the kernel sees, as strace has it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.need import need
from tests.powercut.history import History
from tests.powercut.recording import start_recorder
from tests.powercut.scenes import ALL

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    **dict.fromkeys(
        (
            *("write", "pwrite64", "writev", "pwritev", "pwritev2"),
            *("copy_file_range", "sendfile", "splice", "vmsplice", "io_submit", "io_uring_enter"),
        ),
        "write",
    ),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
    "fallocate": "allocate",
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "unlink"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("link", "linkat"), "link"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **{call: call for call in ("fsync", "fdatasync", "syncfs", "sync", "msync", "sync_file_range")},
}
SAME = {"rmdir": "unlink", "punch": "allocate"}
CALL = re.compile(r"^\d+ +(\w+)\(.*/project/build\b", re.MULTILINE)


@pytest.mark.parametrize("name", ["patch", "grow"])
def test_the_kernel_sees_the_calls_that_are_recorded(name: str, tmp_path: Path) -> None:
    log, project, prints = tmp_path / "trace", tmp_path / "project", tmp_path / "prints"
    project.mkdir()
    prints.mkdir()
    log.touch()
    trace = ("-f", "-qq", "-y", "-z", "-s", "0", "-e", f"trace={','.join(KINDS)}", "-o", str(log))
    with start_recorder(prints, through=(need("strace"), *trace), POWERCUT_SYNCS="1") as (recorder, runner):
        ALL[name].prepare(project, runner, "")
        history = History(project)
        before = log.stat().st_size
        with recorder.recording(project, shares=False) as records:
            runner.run(*ALL[name].arguments, project=project).assert_done()
    with log.open() as file:
        file.seek(before)
        seen = Counter(KINDS[call] for call in CALL.findall(file.read()))
    history.follow(records)
    recorded = Counter(SAME.get(record.kind, record.kind) for record in records)
    assert {kind: recorded[kind] for kind in set(KINDS.values())} == {
        kind: seen[kind] for kind in set(KINDS.values())
    }
