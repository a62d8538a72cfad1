"""Jobs that make the same disk: two do the work, and the others copy what came of it.

Work disks of one seed with the same keys and files are such. What it costs to copy is what the file holds, so
of a file that holds much nothing is kept.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from bangerbuild.model import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from bangerbuild.model import Action, Json

    Facts: TypeAlias = Mapping[str, Json]
    Files: TypeAlias = Mapping[str, str]

MOST_BYTES = 4 << 20


def likeness(actions: Sequence[Action]) -> object:
    """What is equal for jobs that make the same disk; None: there may be no other such job."""
    kinds = tuple(action.step.likeness for action in actions)
    is_new = all(action.verb is Verb.CREATE for action in actions)
    return (actions[0].fingerprint, kinds) if is_new and len(kinds) > 1 and None not in kinds else None


@dataclass(frozen=True)
class JobOutput:
    """What a job made: one file, and what is to be remembered of each step."""

    file: Path
    """Has no name any more, but can be opened."""
    guests: bool
    facts: tuple[Facts, ...]
    files: tuple[Files, ...]
    """What was written into the guest; of a step that writes nothing, nothing."""


class Template:
    """The outcome of one of several jobs that make the same, once it is known that there are several."""

    def __init__(self) -> None:
        self.outcome: JobOutput | None = None
        self._offers = 0
        self._lock = threading.Lock()
        self._fd = -1

    def offer(self, file: Path, *, guests: bool, facts: Sequence[Facts], files: Sequence[Files]) -> None:
        """Say what a job made; kept of the second one that does, if there is room for it."""
        with self._lock:
            self._offers += 1
            if self._offers != 2 or file.stat().st_blocks * 512 > MOST_BYTES:
                return
        copy = file.with_suffix(".template")
        try:
            clone.clone(file, copy)
        except OSError:  # what only saves work is no reason to fail
            return
        self._fd = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
        copy.unlink()
        self.outcome = JobOutput(Path(f"/proc/self/fd/{self._fd}"), guests, tuple(facts), tuple(files))

    def close(self) -> None:
        """Let go of the copy."""
        if self._fd >= 0:
            os.close(self._fd)


@contextmanager
def opened() -> Iterator[Template]:
    """A template that nobody has left anything in."""
    template = Template()
    try:
        yield template
    finally:
        template.close()
