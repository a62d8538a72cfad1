"""Runs launch scripts with programs that only write down how they were started."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RECORDER = """\
#!/bin/sh
pwd -P >"$RECORD"
printf '%s\\n' "$@" >>"$RECORD"
"""


@dataclass(frozen=True)
class Started:
    """How a script ended and, if it came to that, how its program was started."""

    code: int
    stderr: str
    directory: str = ""
    argv: tuple[str, ...] = ()

    def value(self, option: str) -> str:
        """The argument after an option that is there once."""
        assert self.argv.count(option) == 1, self.argv
        return self.argv[self.argv.index(option) + 1]


@dataclass(frozen=True)
class Directory:
    """A VM's directory in a store, under a path that wants quoting."""

    path: Path
    bin: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, parent: Path) -> Directory:
        directory = cls(parent / "a store's $HOME" / "vms" / "web", parent / "bin")
        directory.path.mkdir(parents=True)
        directory.bin.mkdir()
        (directory.path / "root.dev").touch()
        return directory

    def write(self, name: str, text: str) -> Path:
        script = self.path / name
        script.write_text(text)
        script.chmod(0o755)
        return script

    def run(self, script: Path, *arguments: str, program: str, cwd: Path, **variables: str) -> Started:
        """Run a script in a directory, with a recorder in the place of the program it starts."""
        recorder, record = self.bin / program, self.bin / "record"
        recorder.write_text(RECORDER)
        recorder.chmod(0o755)
        record.unlink(missing_ok=True)
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "RECORD": str(record), **variables}
        done = subprocess.run(
            [need("dash"), script, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if not record.exists():
            return Started(done.returncode, done.stderr)
        directory, *argv = record.read_text().splitlines()
        return Started(done.returncode, done.stderr, directory, tuple(argv))
