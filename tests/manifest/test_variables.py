"""`[vars]`, and what the command line sets in their place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ManifestError
from bangerbuild.manifest import load
from bangerbuild.manifest.variables import Settings
from tests.manifest.loading import write

if TYPE_CHECKING:
    from bangerbuild.errors import Problem

HEAD = 'image.debian.rootfs.tar = "root.tar"\n[vm.web]\nimage = "debian"\n'
FILE = '[[vm.web.file]]\nguest = "/a"\ntemplate = true\n'


def content(variables: str, template: str, settings: Settings | None = None) -> str:
    text = f"{HEAD}{FILE}content = '{template}'\n[vars]\n{variables}\n"
    return load([write("vm.toml", text)], settings=settings).vms["web"].files[0].content


def problems(variables: str, settings: Settings) -> tuple[Problem, ...]:
    with pytest.raises(ManifestError) as caught:
        load([write("vm.toml", f"{HEAD}[vars]\n{variables}\n")], settings=settings)
    return caught.value.problems


def test_a_variable_may_need_others_in_any_order() -> None:
    assert content('a = "{{ vars.b }}!"\nb = "{{ vars.c[0] }}"\nc = ["x"]', "{{ vars.a }}") == "x!"


def test_the_command_line_wins_over_files_and_these_over_the_manifest() -> None:
    write("v.toml", 'a = "file"\nb = "file"')
    settings = Settings([("a", "line"), ("a", "last")], [Path("v.toml")])
    text = "{{ vars.a }} {{ vars.b }} {{ vars.c }}"
    assert content('a = "m"\nb = "m"\nc = "m"', text, settings) == "last file m"


def test_what_the_command_line_gives_is_no_template() -> None:
    assert content('a = ""', "{{ vars.a }}", Settings([("a", "{{ name }}")])) == "{{ name }}"


def test_a_value_of_the_command_line_is_of_the_kind_that_is_declared() -> None:
    settings = Settings([("n", "41"), ("on", "false"), ("t", "7")])
    text = '{{ vars.n + 1 }} {{ "on" if vars.on else "off" }} {{ vars.t + "!" }}'
    assert content('n = 1\non = true\nt = "x"', text, settings) == "42 off 7!"
    (problem,) = problems("n = 1", Settings([("n", "many")]))
    assert problem.message == "the command line sets 'n' to 'many', and it is 1 here"
    assert (problem.file, problem.line) == ("vm.toml", 5)


def test_a_value_of_a_file_is_of_the_kind_that_is_declared() -> None:
    write("v.toml", 'n = "many"\nt = 1979-05-27')
    assert [problem.message for problem in problems('n = 1\nt = "x"', Settings((), [Path("v.toml")]))] == [
        "v.toml sets 'n' to 'many', and it is 1 here",
        "v.toml sets 't' to 1979-05-27, and it is 'x' here",
    ]


def test_a_variable_gets_others_evaluated_in_whichever_way_it_asks() -> None:
    given = 'a = "A"\nb = "{{ vars.a }}"\nc = "{{ vars.get(\'b\') }}{{ vars.get(\'no\', 1) }}"'
    assert content(given, "{{ vars.c }}") == "A1"
    with pytest.raises(ManifestError, match="in a circle: c -> c"):
        content('a = "A"\nc = "{% for one in vars.values() %}{{ one }}{% endfor %}"', "")


def test_what_needs_a_variable_with_a_problem_is_not_told_too() -> None:
    with pytest.raises(ManifestError) as caught:
        content('a = "{{ vars.nobody }}"', "{{ vars.a }}")
    assert [problem.key for problem in caught.value.problems] == ["vars.a"]


def test_a_variable_that_no_file_declares_is_told() -> None:
    (problem,) = problems('domain = "x"', Settings([("domian", "y")]))
    assert problem.message == "no file declares the variable 'domian'"
    assert problem.hint == "did you mean 'domain'?"
    write("v.toml", "other = 1")
    (problem,) = problems('domain = "x"', Settings(files=[Path("v.toml")]))
    assert (problem.file, problem.key) == ("v.toml", "other")


def test_a_file_of_variables_that_can_not_be_read_is_told() -> None:
    (problem,) = problems("a = 1", Settings(files=[Path("gone.toml")]))
    assert (problem.file, problem.message) == (
        "gone.toml",
        "can't read the variables: no such file or directory",
    )
    write("v.toml", "a = 1\nb")
    (problem,) = problems("a = 1", Settings(files=[Path("v.toml")]))
    assert (problem.file, problem.line) == ("v.toml", 2)


def test_variables_hold_for_their_own_file_and_are_set_in_every_one_that_declares_them() -> None:
    write(
        "more.toml",
        '[vars]\na = "more"\n[vm.db]\nimage = "debian"\n'
        + FILE.replace("web", "db")
        + 'content = "{{ vars.a }}"',
    )
    text = f"include = ['more.toml']\n{HEAD}{FILE}content = '{{{{ vars.a }}}}'\n[vars]\na = 'main'\n"
    for settings, given in ((None, ["main", "more"]), (Settings([("a", "set")]), ["set", "set"])):
        vms = load([write("vm.toml", text)], settings=settings).vms
        assert [vms[name].files[0].content for name in ("web", "db")] == given
