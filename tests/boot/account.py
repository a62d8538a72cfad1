"""Who runs the tool in the boot tests: an ordinary user, also where the tests themselves are run by root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.need import need

PROJECT = Path(__file__).parents[2]
NOBODY = 65534
"""Needs no entry in the host's passwd; owns nothing that is not made for it here."""


@dataclass(frozen=True)
class Account:
    """A user, and an interpreter this user can start."""

    python: str
    home: Path
    uid: int | None = None
    """None: whoever runs the tests."""

    @property
    def is_ordinary(self) -> bool:
        """Whether this is anybody but root."""
        return (os.geteuid() if self.uid is None else self.uid) != 0

    def bangerbuild(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        """Run the command line as this user; the caller judges the exit code."""
        return self._python("-m", "bangerbuild", *map(str, arguments), cwd=cwd)

    def start(
        self, command: list[str], *, cwd: Path, variables: dict[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user, with more variables and without input; the caller ends it."""
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | {"HOME": str(self.home)} | variables,
            user=self.uid,
            group=self.uid,
            extra_groups=self._groups,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def can_start(self) -> bool:
        """Whether interpreter, libraries and project are within this user's reach."""
        try:
            return self._python("-c", "import bangerbuild, click, zstandard", cwd=self.home).returncode == 0
        except OSError:  # the interpreter lies in a directory closed to this user
            return False

    def take(self, directory: Path) -> None:
        """Make everything below this user's own; links themselves, not what they point to."""
        if self.uid is not None:
            owner = f"{self.uid}:{self.uid}"
            command = [need("chown", "coreutils"), "--recursive", "--no-dereference", owner, str(directory)]
            subprocess.run(command, check=True)

    @property
    def _groups(self) -> list[int] | None:
        return None if self.uid is None else []

    def _python(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        libraries = (str(PROJECT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
        environment = os.environ | {"HOME": str(self.home), "PYTHONPATH": os.pathsep.join(libraries)}
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd,
            env=environment,
            user=self.uid,
            group=self.uid,
            extra_groups=self._groups,
            capture_output=True,
            check=False,
        )


def ordinary_account(home: Path) -> Account:
    """An account that is not root's if the host lets one start Python; `home` becomes its directory."""
    ourselves = Account(sys.executable, home)
    if ourselves.is_ordinary:
        return ourselves
    system_python = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    for python in filter(None, (sys.executable, system_python)):
        account = Account(python, home, uid=NOBODY)
        account.take(home)
        if account.can_start():
            return account
    return ourselves
