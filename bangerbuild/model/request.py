"""What a run is asked for: which manifests and which part of them, and how the work is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.epoch import Epoch
from bangerbuild.errors import UsageError
from bangerbuild.model.arguments import check_fields

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What is wanted: which manifests, where, and which part of them."""

    manifests: tuple[Path, ...]
    store: Path | None = None
    """Overrides the manifest's."""
    targets: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    offline: bool = False
    """Never use the network."""
    locked: bool = False
    """Refuse what the lock file would have to be changed for."""
    upgrade: tuple[str, ...] = ()
    """Images whose sources are asked again what they stand for."""
    variables: tuple[tuple[str, str], ...] = ()
    """Names and values that the command line sets."""
    variable_files: tuple[Path, ...] = ()
    """Files that set variables too; a value of the command line wins over theirs."""
    node: str | None = None
    """The node whose share is wanted, or `all`; None: there are no nodes, or it is not said."""
    rebalance: bool = False
    """Place VMs on nodes as if none had been leased one."""


@dataclass(frozen=True)
class RunOptions:
    """How it is done.

    Raises:
        UsageError: `jobs` is below 1, or `lock_seconds` below 0.
        TypeError: a value is of another type.
    """

    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Steps at once; by default as many as there are cores to use."""
    keep_going: bool = False
    """After a failure, do what does not depend on it."""
    lock_seconds: float = 60
    """How long to wait for another writer of the store."""
    previews: bool = True
    """Whether the plan shall say what updates change inside guests."""

    def __post_init__(self) -> None:
        check_fields(self, int, "a whole number", "jobs")
        check_fields(self, (int, float), "a number", "lock_seconds")
        check_fields(self, bool, "True or False", "keep_going", "previews")
        if self.jobs < 1:
            raise UsageError(
                f"jobs is {self.jobs}: that many steps at once do nothing", hint="give 1 or more"
            )
        if not self.lock_seconds >= 0:  # nan is neither
            raise UsageError(f"lock_seconds is {self.lock_seconds}", hint="give 0 or more seconds")


def epoch() -> Epoch:
    """The time for all that we make ourselves.

    Raises:
        UsageError: SOURCE_DATE_EPOCH is set to something else than a positive whole number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return Epoch()
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 32:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is '{text}': it must be a number of seconds from 1 to {(1 << 32) - 1}",
            hint="unset SOURCE_DATE_EPOCH",
        )
    return Epoch(int(text), is_set=True)
