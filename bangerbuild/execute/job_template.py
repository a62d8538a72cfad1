"""Make equal disks once: the output of one job is kept as a template, and other jobs copy it.

Work disks of one seed with the same keys and files are such. What it costs to copy is what the file holds, so
of a file that holds much no template is made.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from bangerbuild.disk.template import FileTemplate
from bangerbuild.model import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from bangerbuild.model import Action, Json, Step

    Facts: TypeAlias = Mapping[str, Json]
    Files: TypeAlias = Mapping[str, str]

MOST_BYTES = 4 << 20


def deduplication_key(actions: Sequence[Action]) -> object:
    """What is equal for jobs that make the same disk; None: there may be no other such job."""
    if len(actions) == 1 or any(action.verb is not Verb.CREATE for action in actions):
        return None
    steps = [action.step for action in actions]
    if not all(_owner_fields(type(step)) for step in steps):
        return None
    return actions[0].fingerprint, tuple(map(_without_owner, steps))


def _without_owner(step: Step) -> object:
    """A step but for whose it is."""
    return replace(cast("Any", step), **dict.fromkeys(_owner_fields(type(step)), ""))


@lru_cache
def _owner_fields(kind: type) -> tuple[str, ...]:
    """The fields that only say whose a step is; none where each step is one of its own."""
    return tuple(part.name for part in fields(kind) if part.metadata.get("owner"))


@dataclass(frozen=True)
class JobOutput:
    """What a job made: one file, and what is to be remembered of each step."""

    file: FileTemplate
    guests: bool
    facts: tuple[Facts, ...]
    files: tuple[Files, ...]
    """What was written into the guest; of a step that writes nothing, nothing."""


class JobTemplate:
    """The output of one of several jobs that make the same, once it is known that there are several."""

    def __init__(self) -> None:
        self.output: JobOutput | None = None
        self._offers = 0
        self._lock = threading.Lock()

    def offer(self, file: Path, *, guests: bool, facts: Sequence[Facts], files: Sequence[Files]) -> None:
        """Say what a job made; kept of the second one that does, if there is room for it."""
        with self._lock:
            self._offers += 1
            if self._offers != 2 or file.stat().st_blocks * 512 > MOST_BYTES:
                return
        try:
            template = FileTemplate(file)
        except OSError:  # what only saves work is no reason to fail
            return
        self.output = JobOutput(template, guests, tuple(facts), tuple(files))

    def close(self) -> None:
        """Let go of what was kept."""
        if self.output is not None:
            self.output.file.close()


@contextmanager
def template() -> Iterator[JobTemplate]:
    """A template that nobody has left anything in."""
    made = JobTemplate()
    try:
        yield made
    finally:
        made.close()
