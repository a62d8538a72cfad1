"""Runs a composite action as its host does; what ours does not use of that is refused."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_COMPARED = re.compile(r"(\S+) == '([^']*)'")


@dataclass
class Ended:
    """What became of a run."""

    code: int = 0
    """The exit code of the step that failed, or 0."""
    step: str = ""
    """The name of the step that ran last."""
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


class Runner:
    """A runner with one action.

    Args:
        action: its directory.
        workspace: where the steps run.
        temp: what `RUNNER_TEMP` names.
    """

    def __init__(self, action: Path, workspace: Path, temp: Path) -> None:
        self._document: Any = yaml.safe_load((action / "action.yml").read_text())
        self._workspace = workspace
        self._temp = temp
        self._known = {"github.action_path": str(action)}
        self._path: list[str] = []

    def run(self, inputs: Mapping[str, str], *, skip: str = "") -> Ended:
        """Run the steps one after the other until one fails, without the one called `skip`."""
        declared = self._document["inputs"]
        assert inputs.keys() <= declared.keys()
        defaults = {name: one["default"] for name, one in declared.items()}
        self._known |= {f"inputs.{name}": value for name, value in {**defaults, **inputs}.items()}
        ended = Ended()
        for step in self._document["runs"]["steps"]:
            if step["name"] != skip and self._is_wanted(step.get("if")):
                self._run(step, ended)
            if ended.code:
                break
        for name, output in self._document["outputs"].items():
            ended.outputs[name] = self._filled(output["value"])
        return ended

    def _is_wanted(self, condition: str | None) -> bool:
        if condition is None:
            return True
        found = _COMPARED.fullmatch(condition)
        assert found, condition
        return self._known[found[1]] == found[2]

    def _filled(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: self._value(found[1]), text)

    def _value(self, name: str) -> str:
        if name.startswith("steps."):  # one that did not run has none
            return self._known.get(name, "")
        return self._known[name]

    def _run(self, step: Mapping[str, Any], ended: Ended) -> None:
        assert step["shell"] == "bash"
        assert step.keys() <= {"name", "id", "if", "shell", "env", "run"}
        files = {name: self._temp / name for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        script = self._temp / "script.sh"
        script.write_text(self._filled(step["run"]))
        environment = {
            **os.environ,
            "PATH": ":".join([*reversed(self._path), os.environ["PATH"]]),
            "RUNNER_TEMP": str(self._temp),
            "GITHUB_WORKSPACE": str(self._workspace),
            **{name: str(file) for name, file in files.items()},
            **{name: self._filled(str(value)) for name, value in step.get("env", {}).items()},
        }
        done = subprocess.run(
            [need("bash"), "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self._workspace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        ended.code, ended.step = done.returncode, step["name"]
        ended.log += done.stdout + done.stderr
        ended.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        self._path += files["GITHUB_PATH"].read_text().split()
        for line in files["GITHUB_OUTPUT"].read_text().splitlines():
            name, _, value = line.partition("=")
            self._known[f"steps.{step['id']}.outputs.{name}"] = value
