"""The scripts, loaded by the shells themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.completion.shells import SHELLS
from tests import in_process
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST = "[image.base]\n[vm.web]\nimage = 'base'\n[vm.worker]\nimage = 'base'\n"
IN_BASH = """
source bash.sh
read -ra COMP_WORDS <<<"$1"
[[ $1 != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_bangerbuild
printf '%s\\n' "${COMPREPLY[@]}"
"""
IN_ZSH = """
zmodload zsh/zpty
zpty shell zsh -fi
zpty -w shell "PATH=$PATH; autoload -U compinit; compinit -u -d $PWD/dump; source $PWD/zsh.sh; echo rea''dy"
zpty -r shell seen '*ready*'
zpty -w -n shell "$1"$'\\t\\t'
zpty -r shell seen "*$2*"
"""
"""It ends once what is expected was printed on its terminal."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, with the program in PATH, and the scripts beside it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/bangerbuild"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bangerbuild "$@"\n')
    program.chmod(0o755)
    (tmp_path / "vm.toml").write_text(MANIFEST)
    for shell in SHELLS:
        (tmp_path / f"{shell}.sh").write_text(in_process.run("completion", shell)[1])
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def by_bash(line: str) -> list[str]:
    return printed(need("bash"), "--norc", "-c", IN_BASH, "bash", line)


def by_fish(line: str) -> list[str]:
    words = printed(need("fish"), "--no-config", "-c", f"source fish.sh; complete -C '{line}'")
    return [word.partition("\t")[0] for word in words]


@pytest.mark.parametrize("ask", [by_bash, by_fish])
def test_names_ids_options_and_paths_are_completed(directory: Path, ask: Callable[[str], list[str]]) -> None:
    assert ask("bangerbuild boot w") == ["web", "worker"]
    assert ask("bangerbuild plan --target vm.web.root.") == ["vm.web.root.patch"]
    assert "--detach" in ask("bangerbuild boot --d")
    assert "vm.toml" in ask("bangerbuild apply vm.t")
    assert ask("bangerbuild apply --store bi") in (["bin"], ["bin/"])


def test_so_it_is_in_a_zsh_on_a_terminal(directory: Path) -> None:
    printed(need("zsh"), "-f", "-c", IN_ZSH, "zsh", "bangerbuild boot w", "web*worker")
    printed(need("zsh"), "-f", "-c", IN_ZSH, "zsh", "bangerbuild plan --target vm.web.l", "vm.web.launch")
