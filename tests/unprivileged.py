"""Programs run as a user who may not write everywhere, even where root runs the tests."""

from __future__ import annotations

import os
import pickle
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests import PROJECT, forking
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
NOBODY = 65534


def run_unprivileged(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without root's privileges; file modes count for it as for anybody."""
    if os.geteuid() == 0:
        command = [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", *command]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def as_nobody(ask: Callable[[], T]) -> T:
    """What a function gives where it is called by the user nobody, who has no namespaces and no groups.

    The child process has all modules that this one has. It can't read what only root can.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writing, pickle.dumps(ask()))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as file:  # noqa: PTH123  # a descriptor
        answer = file.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    found: T = pickle.loads(answer)  # noqa: S301  # of our own child
    return found


def run_bangerbuild(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run bangerbuild without root's privileges."""
    return forking.run(arguments, cwd=cwd, is_privileged=False).as_text()


def let_others_in(directory: Path) -> None:
    """Let every user go through the directories above one of pytest's, and into it."""
    top = Path(tempfile.gettempdir())
    ours = [path for path in directory.parents if path.is_relative_to(top) and path != top]
    for path in (directory, *ours):
        path.chmod(0o755)
