"""`[cache]`: what is taken, and what is refused with the line that it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.declared import Cache
from bangerbuild.errors import ManifestError, Problem

if TYPE_CHECKING:
    from pathlib import Path

TEAM = "docker://registry.example/team/images"


def load(place: Path, text: str, **others: str) -> Cache:
    for name, content in others.items():
        (place / f"{name}.toml").write_text(content)
    (place / "vm.toml").write_text(text)
    return manifest.load((place / "vm.toml",)).cache


def problems(place: Path, text: str, **others: str) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        load(place, text, **others)
    return caught.value.problems


def test_without_it_nothing_is_pulled_or_pushed(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Cache() == Cache((), None, trust=False)


def test_all_of_it_is_taken_as_it_is_written(tmp_path: Path) -> None:
    text = f'[cache]\npull = ["{TEAM}", "docker://mirror.example", "{TEAM}"]\npush = "{TEAM}"\ntrust = true\n'
    assert load(tmp_path, text) == Cache((TEAM, "docker://mirror.example"), TEAM, trust=True)


def test_an_included_file_may_have_it(tmp_path: Path) -> None:
    assert load(tmp_path, 'include = ["a.toml"]\n', a=f'[cache]\npush = "{TEAM}"\n') == Cache((), TEAM)


def test_two_files_may_not(tmp_path: Path) -> None:
    text = f'include = ["a.toml"]\n[cache]\npush = "{TEAM}"\n'
    (problem,) = problems(tmp_path, text, a=f'[cache]\npush = "{TEAM}"\n')
    assert (problem.file, problem.line) == (str(tmp_path / "a.toml"), 1)
    assert problem.message == "only one manifest may have [cache]"


@pytest.mark.parametrize(
    ("text", "key", "line", "message"),
    [
        ('pull = "docker://a/b"', "cache.pull", 2, "give a list of addresses"),
        ("pull = [1]", "cache.pull[0]", 2, "give an address"),
        ('pull = ["registry.example/team"]', "cache.pull[0]", 2, "give an address"),
        ('pull = ["docker://a.b/c:latest"]', "cache.pull[0]", 2, "is no address of a registry's"),
        ('push = ["docker://a/b"]', "cache.push", 2, "give an address"),
        ('push = "docker://a.b/C"', "cache.push", 2, "is no address of a registry's"),
        ('push = "docker://me:secret@a.b/c"', "cache.push", 2, "is no address of a registry's"),
        ('trust = "yes"', "cache.trust", 2, "give true or false"),
        ('pusch = "docker://a/b"', "cache.pusch", 2, "unknown key 'pusch'"),
    ],
)
def test_what_can_t_be_meant_is_a_problem_of_its_line(
    tmp_path: Path, text: str, key: str, line: int, message: str
) -> None:
    (problem,) = problems(tmp_path, f"[cache]\n{text}\n")
    assert (problem.key, problem.line) == (key, line)
    assert message in problem.message
    assert "secret" not in str(problem)
