"""What comes before and after the start; the rest is in tests/cli/test_machines.py, as users see it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands import boot, machines
from bangerbuild.errors import BusyError, StoreError, ToolError
from bangerbuild.running.run_directory import RunDirectory, Running
from bangerbuild.running.spawning import Start
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.running.spawning import Spawned


def spawned(directory: Path, script: str, *, ssh: str = "") -> Spawned:
    start = Start(
        vm="web",
        vmm="qemu",
        program=need("sh"),
        argv=["sh", "-c", script],
        files={},
        console="files",
        attached=False,
        ssh=ssh,
        ports=[],
        root="root.ext4",
        image="tiny",
    )
    return boot.spawn(start, directory)


def test_the_ways_to_a_vm_that_runs_depend_on_its_network() -> None:
    values = {"vm": "web", "vmm": "qemu", "pid": "7"}
    assert boot.already("web", Running(values)).hint == "bangerbuild logs web -f, or bangerbuild stop web"
    hint = boot.already("web", Running(values | {"ssh": "127.0.0.1:1"})).hint
    assert hint == "bangerbuild ssh web, bangerbuild logs web -f, or bangerbuild stop web"
    assert "being started" in boot.already("web", None).brief


def test_a_run_lock_that_is_held_is_somebody_elses_start(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    lock = run.lock()
    assert lock is not None
    with pytest.raises(BusyError, match="'web' is being started by somebody else"):
        spawned(tmp_path, "true")
    os.close(lock)


def test_an_sshd_that_was_not_there_in_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "_has_sshd", lambda _: True)
    one = spawned(tmp_path, "sleep 3600", ssh="127.0.0.1:1")
    with pytest.raises(ToolError, match=r"'web' runs, but its sshd did not answer within 0\.1 s"):
        boot.wait(one, 0.1)
    boot.end(one)
    assert one.code() == -15


def test_what_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "TERM_SECONDS", 0.2)
    one = spawned(tmp_path, "trap '' TERM; echo set; while :; do sleep 0.1; done")
    while "set" not in (tmp_path / "run" / "console.log").read_text():
        pass
    boot.end(one)
    assert one.code() == -9


def test_a_vm_in_the_background_is_told_with_the_next_commands(tmp_path: Path) -> None:
    one = spawned(tmp_path, "sleep 3600", ssh="127.0.0.1:40022")
    first, *more = boot.lines(one, "it has come up after 1.0 s")
    boot.end(one)
    assert first == f"web runs (qemu, process {one.running.pid}): it has come up after 1.0 s"
    assert [line.split()[:3] for line in more] == [
        ["bangerbuild", "ssh", "web"],
        ["bangerbuild", "logs", "web"],
        ["bangerbuild", "stop", "web"],
    ]


def test_a_directory_that_can_not_be_written_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StoreError, match="is no directory"):
        spawned(tmp_path, "true")
    assert machines.running(tmp_path) == []
