"""Look at many states of each scene, or at one again: `python -m tests.powercut --help`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import FOREIGN_VARIABLES
from tests.powercut.drill import BrokenError, PowerCut, prepared
from tests.powercut.recording import start_recorder
from tests.powercut.scenes import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """The exit code: 1 if a state is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--states", type=int, default=10_000, help="how many, over all scenes [%(default)s]")
    parser.add_argument(
        "--scene", action="append", choices=sorted(ALL), help="only this one; may be repeated"
    )
    parser.add_argument("--state", type=int, help="only the state of this number")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="scenes at once [the cores]")
    given = parser.parse_args()
    scenes = given.scene or list(ALL)
    numbers = range(-(-given.states // len(scenes))) if given.state is None else [given.state]
    with tempfile.TemporaryDirectory() as directory, ProcessPoolExecutor(given.jobs) as pool:
        _forget_the_users_own(directory)
        running = [pool.submit(_drill, name, Path(directory) / name, numbers) for name in scenes]
        found = sum((one.result() for one in running), Counter[str]())
    print(f"all: {_counts(found)}; {found['seconds']} s of the CPU")
    return min(found["broken"], 1)


def _forget_the_users_own(home: str) -> None:
    for name in FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(HOME=home, NO_COLOR="1")


def _counts(found: Counter[str]) -> str:
    return f"{found['new']} states, {found['like']} like one of them, {found['broken']} broken"


def _drill(name: str, directory: Path, numbers: Sequence[int]) -> Counter[str]:
    """Look at states of a scene; how many there were of each sort, and the seconds of the CPU."""
    directory.mkdir()
    begun, used = time.monotonic(), _cpu_seconds()
    with (
        start_recorder(directory, XDG_CACHE_HOME=str(directory / "project" / ".cache")) as (recorder, runner),
        prepared(ALL[name], recorder, runner, directory) as drill,
    ):
        if len(numbers) == 1:
            print(drill.chooser.choose(numbers[0]))
        found = Counter(_looked_at(drill, number) for number in numbers)
    found["seconds"] = round(_cpu_seconds() - used)
    spent = f"{time.monotonic() - begun:.0f} s, {found['seconds']} s of the CPU"
    print(f"{name}: {drill.history.end} operations; {_counts(found)}; {spent}", flush=True)
    return found


def _cpu_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _looked_at(drill: PowerCut, number: int) -> str:
    try:
        return "new" if drill.try_state(number) else "like"
    except BrokenError as err:
        print(err, flush=True)
        return "broken"


if __name__ == "__main__":
    sys.exit(main())
