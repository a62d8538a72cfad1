"""The load, from its start to the judgement."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.torture import judging, scene
from tests.torture.guests import Guests
from tests.torture.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORKERS = 8
GUESTS = 3


@dataclass(frozen=True)
class Outcome:
    """What was done, and all that is wrong."""

    load: Load
    guests: Guests
    faults: list[str]
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.load.counts.items()))
        errors = "".join(f"\n  {count:5} {what}" for what, count in self.load.errors.most_common(20))
        return (
            f"{self.seconds:.0f} s: {counts}; {len(self.guests.written)} files written by guests, "
            f"{self.guests.turned_away} guests turned away; {len(self.faults)} faults{errors}"
        )


def torture(project: Path, seed: int, is_over: Callable[[int], bool]) -> Outcome:
    """Put a store in an empty directory under load, then judge what is left.

    `is_over` is asked by each worker before each command, with the number of commands that it has given.
    """
    begun = time.monotonic()
    load = Load(project, scene.write(project), seed, is_over)
    stopping = threading.Event()
    guests = Guests(project, seed, stopping)
    with ThreadPoolExecutor(WORKERS + GUESTS) as pool:
        at_work = [pool.submit(guests.work, number) for number in range(GUESTS)]
        workers = [pool.submit(load.work, number) for number in range(WORKERS)]
        try:
            for worker in workers:
                worker.result()
        finally:
            stopping.set()
        for guest in at_work:
            guest.result()
    faults = load.faults + judging.settle(project)
    faults += judging.lost(project, guests.written, load.destroyed)
    return Outcome(load, guests, faults, time.monotonic() - begun)
