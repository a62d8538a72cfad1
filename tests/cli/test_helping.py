"""`help COMMAND`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine


@pytest.mark.parametrize("words", [(), ("apply",), ("image", "import"), ("help",)], ids=" ".join)
def test_help_of_a_command_is_what_the_command_says_of_itself(
    cli: CommandLine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = cli("help", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == cli(*words, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("aply",), "did you mean 'apply'?"),
        (("image", "imprt"), "did you mean 'import'?"),
        (("zzzzzz",), "`bangerbuild --help` lists what there is"),
        (("apply", "more"), "`bangerbuild apply --help` lists what there is"),
    ],
)
def test_a_command_that_is_not_there_is_answered_with_its_neighbour(
    cli: CommandLine, tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    done = cli("help", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"no command is called '{' '.join(words)}'" in done.stderr
    assert hint in done.stderr
