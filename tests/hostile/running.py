"""The command line as a user starts it, measured; and what a run may not do whatever it meets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests import forking

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

MIB = 1 << 20
MOST_SECONDS = 10
"""Of work; a machine that does much else may take longer for it."""
MOST_MIB = 500
FINE_CODES = (0, 1, 3, 4)


@dataclass(frozen=True)
class Ran:
    """A command that came to its end."""

    code: int
    stdout: bytes
    stderr: str
    cpu_seconds: float
    """Its own, and of the programs that it started."""
    peak_mib: int
    """The most that it, or one of those programs, had in memory."""

    def assert_fine(self, *codes: int, disks: int = 0) -> None:
        """It ended by itself, in time and in bounds, with one of these codes and no traceback.

        Args:
            codes: exit codes; any that is not a crash's, if none are given.
            disks: how many it worked on, if it was a crowd: each may take a quarter of a second more.
        """
        assert "Traceback" not in self.stderr, self.stderr
        assert self.code in (codes or FINE_CODES), (self.code, self.stderr)
        assert self.cpu_seconds < MOST_SECONDS + disks / 4, self.stderr
        assert self.peak_mib < MOST_MIB, self.stderr


def run(*arguments: str | Path, cwd: Path) -> Ran:
    """Run `bangerbuild ARGUMENTS…` in a directory."""
    ended = forking.run(arguments, cwd=cwd)
    said = ended.stderr.decode(errors="replace")
    return Ran(ended.code, ended.stdout, said, ended.cpu_seconds, ended.peak_kib // 1024)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def everything_but(store: Path, top: Path) -> dict[str, str]:
    """What lies below a directory, the store apart: each path and its content."""
    return {
        str(path): digest(path) if path.is_file() and not path.is_symlink() else "no file"
        for path in sorted(top.rglob("*"))
        if store not in (path, *path.parents)
    }


def refusal(action: Mapping[str, Any]) -> tuple[str, str]:
    """What stopped a step, and the way out: the plan knows of it, or else the run does."""
    if action["action"] == "blocked":
        assert action["result"] == "skipped"
        ways_out = (action.get("hint"), *(reason.get("hint") for reason in action["reasons"]))
        said = (_said(reason, action["artifacts"][0]) for reason in action["reasons"])
        return ", ".join(said), " ".join(filter(None, ways_out))
    assert action["result"] == "failed"
    return action["error"]["brief"], action["error"]["hint"]


def _said(reason: Mapping[str, Any], artifact: str) -> str:
    if reason["code"] == "path-in-the-way":
        return f"'{reason['guest']}' is a directory in '{artifact}'"
    return str(reason.get("message") or reason.get("error"))
