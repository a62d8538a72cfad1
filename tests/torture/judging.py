"""What must be true once all is quiet."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.disk.ext4_tools import assert_clean, debugfs
from tests.drills.drill import BESIDE, NOTHING_DONE, raw_of
from tests.torture.scene import LAST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.guests import Written
    from tests.torture.load import Destroyed


def settle(project: Path) -> list[str]:
    """Run on to the last manifest; what is wrong with the store then."""
    faults = []
    for arguments in (["apply", LAST], ["verify", LAST], ["gc", LAST], ["apply", LAST, "-v"]):
        done = _run(project, *arguments)
        if done.returncode:
            faults.append(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    if not NOTHING_DONE.search(_run(project, "apply", LAST).stdout.encode()):
        faults.append("the store does not come to rest")
    return faults + [f"left: {path}" for path in _leftovers(project / "build")]


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bangerbuild", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def _leftovers(store: Path) -> list[Path]:
    beside = [path for path in store.rglob("*") if path.name.endswith(BESIDE)]
    return beside + list((store / ".staging").glob("*/*"))


def lost(project: Path, written: list[Written], destroyed: list[Destroyed]) -> list[str]:
    """The files of guests that have to be on their disks and are not; e2fsck finds the disks clean."""
    faults = []
    for disk in sorted({one.disk for one in written}):
        raw = raw_of(project, disk, project / "merged.ext4")
        assert_clean(raw)
        faults += [
            f"{disk}: {one.path} is lost ({time.monotonic() - one.at:.1f} s old)"
            for one in written
            if one.disk == disk and _must_be_there(one, destroyed) and not _is_there(raw, one)
        ]
    return faults


def _must_be_there(file: Written, destroyed: list[Destroyed]) -> bool:
    """Whether nobody wanted the disk to go after the file was written; a refusal does not count."""
    vm = file.disk.split("/", maxsplit=1)[0]
    return not any(one.vm == vm and one.ended > file.at and one.code not in (3, 4) for one in destroyed)


def _is_there(raw: Path, file: Written) -> bool:
    return debugfs(raw, f'cat "{file.path}"') == file.content
