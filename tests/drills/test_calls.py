"""The calls that are counted and hit are those the kernel sees, as strace has it; and strace kills too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests import PROJECT
from tests.drills.drill import Drill
from tests.drills.running import Runner, start_runner
from tests.drills.scenes import SCENES
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

SCENE = SCENES["patch"]
KINDS = {
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("fsync", "fdatasync", "syncfs"), "sync"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "unlink"),
    **dict.fromkeys(("truncate", "ftruncate"), "truncate"),
}
CALL = re.compile(r"^\d+ +(\w+)\(.*/build/", re.MULTILINE)


@pytest.fixture(scope="module")
def drill(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(SCENE, runner, tmp_path_factory.mktemp("drill"))


@pytest.mark.parametrize("name", SCENES)
def test_the_kernel_sees_the_calls_that_are_counted(name: str, tmp_path: Path) -> None:
    log, project, prints = tmp_path / "log", tmp_path / "project", tmp_path / "prints"
    project.mkdir()
    prints.mkdir()
    log.touch()
    trace = ("-f", "-qq", "-y", "-e", f"trace={','.join(KINDS)}", "-o", str(log))
    with start_runner(prints, through=(need("strace"), *trace), DRILL_SYNCS="1") as traced:
        SCENES[name].prepare(project, traced)
        before = log.stat().st_size
        ended = traced.run(*SCENES[name].arguments, project=project)
    ended.assert_done()
    counted = {kind: ended.seen.counts[kind] for kind in KINDS.values()}
    with log.open() as file:
        file.seek(before)
        seen = Counter(KINDS[call] for call in CALL.findall(file.read()))
    assert {kind: seen[kind] for kind in counted} == counted


@pytest.mark.parametrize("when", [1, 3, 6])
@pytest.mark.parametrize("call", ["fsync", "fdatasync", "pwrite64", "unlink"])
def test_killed_by_strace_nothing_is_lost_and_the_next_run_ends_it(
    drill: Drill, call: str, when: int
) -> None:
    project = drill.copy()
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}")
    command = [need("strace"), "-f", "-qq", "-o", "/dev/null", *inject, sys.executable, "-m", "bangerbuild"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [*command, *SCENE.arguments], cwd=project, env=environment, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr.decode()
    drill.look(project)
    drill.finish(project)
