"""Look at many states of each scene, or at one again: `python -m tests.powercut --help`."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.powercut.drill import BrokenError, PowerCut, prepared
from tests.powercut.recording import start_recorder
from tests.powercut.scenes import ALL


def main() -> int:
    """The exit code: 1 if a state is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--states", type=int, default=10_000, help="how many, over all scenes [%(default)s]")
    parser.add_argument("--scene", action="append", choices=sorted(ALL), help="only this one; may be repeated")
    parser.add_argument("--state", type=int, help="only the state of this number")
    given = parser.parse_args()
    scenes = given.scene or list(ALL)
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        os.environ["HOME"] = directory
        for name in scenes:
            numbers = range(given.states // len(scenes)) if given.state is None else [given.state]
            broken += _drill(name, Path(directory) / name, numbers)
    return min(broken, 1)


def _drill(name: str, directory: Path, numbers: range | list[int]) -> int:
    directory.mkdir()
    begun = time.monotonic()
    with (
        start_recorder(directory, XDG_CACHE_HOME=str(directory / "project" / ".cache")) as (recorder, runner),
        prepared(ALL[name], recorder, runner, directory) as drill,
    ):
        print(f"{name}: {drill.history.end} operations", flush=True)
        if len(numbers) == 1:
            print(drill.chooser.choose(numbers[0]))
        found = Counter(_looked_at(drill, number) for number in numbers)
    spent = time.monotonic() - begun
    cpu = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(f"{name}: {found['new']} states, {found['like']} like one of them, {found['broken']} broken, {spent:.0f} s")
    print(f"  {cpu:.0f} s of the CPU so far", flush=True)
    return found["broken"]


def _looked_at(drill: PowerCut, number: int) -> str:
    try:
        return "new" if drill.try_state(number) else "like"
    except BrokenError as err:
        print(err, flush=True)
        return "broken"


if __name__ == "__main__":
    sys.exit(main())
