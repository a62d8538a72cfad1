"""The result of one check of one artifact.

A check has one of these names:

    use         nobody has the disk open
    artifact    it is there
    digest      what is ours has the bytes that were published
    base        the image that a root stands on is there
    filesystem  e2fsck finds nothing wrong
    files       what was written into the guest still reads as it was written
    rebuild     made again, it has the same bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bangerbuild.model import Json


class CheckResult(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    IN_USE = "in-use"
    """Somebody has it open, so that it was not looked at."""
    SKIPPED = "skipped"
    """There is nothing to compare with."""


@dataclass(frozen=True)
class Check:
    """One check of one artifact."""

    path: str
    """The artifact, relative to the store."""
    id: str
    """The step that made it, or that wrote into it."""
    check: str
    result: CheckResult
    message: str = ""

    def to_json(self) -> dict[str, Json]:
        """As `verify --json` shows it."""
        return {
            "path": self.path,
            "id": self.id,
            "check": self.check,
            "result": self.result.value,
            "message": self.message,
        }


def judged(path: str, step_id: str, check: str, faults: Callable[[], Iterable[str]]) -> tuple[Check, ...]:
    """One check: failed once for each fault, what can't be read among them; else it is well."""
    failed: list[Check] = []
    try:
        failed.extend(Check(path, step_id, check, CheckResult.FAILED, fault) for fault in faults())
    except (BangerError, OSError) as err:
        failed.append(Check(path, step_id, check, CheckResult.FAILED, told(err)))
    return tuple(failed) or (Check(path, step_id, check, CheckResult.OK),)


def told(err: BangerError | OSError) -> str:
    """An error in one line."""
    if isinstance(err, BangerError):
        return f"{err.brief} ({err.hint})" if err.hint else err.brief
    return f"can't be read: {(err.strerror or str(err)).lower()}"
