"""Templates are strict, sandboxed, and give the same text each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bangerbuild.manifest import templates
from bangerbuild.manifest.templates import TemplateFaultError

KNOWN = {"name": "web", "vars": {"a": 1, "values": ["x", "y"]}}


def rendered(text: str) -> str:
    return templates.compiled(text).render(KNOWN)


def fault(text: str) -> TemplateFaultError:
    with pytest.raises(TemplateFaultError) as caught:
        rendered(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("{{ name }}\n", "web\n"),
        ("{{ '%03d' | format(vars.a) }}", "001"),
        ("{% for one in vars.values %}{{ one }}{% endfor %}", "xy"),
        ("{{ name | upper }}{# said #}", "WEB"),
        ("{{ vars.a + 1 }}{{ 2 * 3 }}{{ 7 % 4 }}", "263"),
        ("<{{ '<&>' }}>", "<<&>>"),
    ],
)
def test_a_template_gives_a_text(text: str, given: str) -> None:
    assert templates.is_template(text)
    assert rendered(text) == given


@pytest.mark.parametrize("text", ["runner-{001..200}", "{", "{ {", "${HOME}", "a{}b"])
def test_other_braces_make_no_template(text: str) -> None:
    assert not templates.is_template(text)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a\n{{ nam }}", 2, "'nam' is undefined"),
        ("a\n\n{{ vars.b }}", 3, "'b' is undefined"),
        ("{{ vars['b'] }}", 1, "'b' is undefined"),
        ("a\n{% if name %}", 2, "no template: unexpected end of template"),
        ("a\n{{ 1 / 0 }}", 2, "division by zero"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, line: int, said: str) -> None:
    err = fault(text)
    assert err.line == line
    assert said in str(err)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{{ nam }}", "did you mean 'name'?"),
        ("{{ vars.value }}", "did you mean 'values'?"),
        ("{{ vars.quite_other }}", "known here: a, values"),
        ("{{ index }}", "'web' has none here; known here: name, vars"),
        ("{{ name.first }}", None),
    ],
)
def test_what_is_not_there_is_told_with_what_is(text: str, hint: str | None) -> None:
    assert fault(text).hint == hint


def test_an_address_of_an_object_that_the_text_itself_has_may_stay() -> None:
    assert rendered("{{ name }}: <object at 0x7f00>") == "web: <object at 0x7f00>"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ().__class__.__mro__ }}",
        "{{ name.__init__.__globals__ }}",
        "{{ vars.update({}) }}",
        "{% include 'etc/passwd' %}",
        "{{ lipsum() }}",
        "{{ [1, 2] | random }}",
        "{{ name.upper }}",
        "{{ none }}",
        "{{ range }}",
        "{{ [nobody] }}",
        "{{ {'a': [nobody]} ~ '' }}",
        "{{ [name] | map(attribute='__class__') | list }}",
        "{{ [name.upper] }}",
        "{{ name.upper ~ '' }}",
        "{{ vars.values | map('upper') ~ '' }}",
        "{{ '\\ud800' }}",
    ],
)
def test_what_leads_out_of_the_sandbox_or_differs_each_time_is_refused(text: str) -> None:
    assert fault(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 9999999999 }}",
        "{{ 9 ** 9999999 }}",
        "{{ '%09999999999d' % 1 }}",
        "{% for a in range(1000000) %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(9) %}{{ 'x' | center(99) }}{% endfor %}{% endfor %}",
    ],
)
def test_what_grows_out_of_proportion_is_refused(text: str) -> None:
    assert fault(text)


def test_jinja2_is_loaded_only_where_a_template_is_used() -> None:
    code = "import sys; from bangerbuild.manifest import load; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_text_is_compiled_once() -> None:
    assert templates.compiled("{{ name }}!") is templates.compiled("{{ name }}!")
