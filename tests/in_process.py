"""Commands in this process, where a registry may have a line that only a test has put into it."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from bangerbuild.cli import cli
from bangerbuild.errors import BangerError


def run(*arguments: str) -> tuple[int, str]:
    """A command's exit code and its stdout."""
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    if done.exception is None:
        return int(done.return_value or 0), done.stdout
    if not isinstance(done.exception, BangerError):
        raise done.exception
    return done.exception.exit_code, done.stdout


def document(*arguments: str) -> Any:  # noqa: ANN401  # JSON
    """What a command prints with `--json`."""
    return json.loads(run(*arguments, "--json")[1])


def actions() -> dict[str, str]:
    """What the manifest's plan does about each step."""
    return {action["id"]: action["action"] for action in document("plan")["actions"]}
