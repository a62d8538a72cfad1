"""Programs run as a user who may not write everywhere, even where root runs the tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from tests import PROJECT, forking
from tests.need import need


def run_unprivileged(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without root's privileges; file modes count for it as for anybody."""
    if os.geteuid() == 0:
        command = [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", *command]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def run_bangerbuild(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run bangerbuild without root's privileges."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return forking.run(arguments, cwd=cwd, env=environment, is_privileged=False).as_text()


def let_others_in(directory: Path) -> None:
    """Let every user go through the directories above one of pytest's, and into it."""
    top = Path(tempfile.gettempdir())
    ours = [path for path in directory.parents if path.is_relative_to(top) and path != top]
    for path in (directory, *ours):
        path.chmod(0o755)
