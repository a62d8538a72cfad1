"""A plan for the log of GitHub Actions: annotations, and nothing else that the runner takes for a command."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import BangerError, ManifestError, Problem
from bangerbuild.model import FileDiff, Plan, ReasonCode, Verb
from bangerbuild.report import github
from tests.report.plans import IN_USE, PLAN, action, because

WAY_OUT = "`bangerbuild apply --replace vm.old.root` discards what is in it"
PLACES = {"vm.old": ("sub/vm.toml", 12)}
COMMAND = re.compile(r"::(?P<name>[^ :]+)(?: (?P<properties>.*?))?::(?P<data>.*)")
"""How the runner reads a line, once white space around it is removed."""


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(github.WORKSPACE, raising=False)


def commands(lines: list[str]) -> list[tuple[str, dict[str, str], str]]:
    """The commands that the runner finds, with what they say after it has undone the escapes."""
    found = []
    for line in "\n".join(lines).splitlines():
        if (match := COMMAND.match(line.strip())) is None:
            assert "##[" not in line
            continue
        parts = (part.partition("=") for part in (match["properties"] or "").split(",") if part)
        properties = {name: undone(value) for name, _, value in parts}
        found.append((match["name"], properties, undone(match["data"])))
    return found


def undone(text: str) -> str:
    for escape, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(escape, char)
    return text


def test_the_plan_is_there_and_a_blocked_step_is_an_error_at_its_line() -> None:
    lines = list(github.plan_lines(PLAN, PLACES))
    assert lines[0] == "  create  vm.db.root         missing"
    assert commands(lines) == [
        (
            "error",
            {"file": "sub/vm.toml", "line": "12", "title": "vm.old.root is blocked"},
            f"image.deb.rootfs changed\nthe guest has written to it since it was built\n{WAY_OUT}",
        )
    ]


def test_a_disk_in_use_and_a_warning_are_warnings() -> None:
    used = replace(action("vm.a.root", Verb.REPLACE, IN_USE), warnings=("odd",))
    found = commands(list(github.plan_lines(Plan(Path("/b"), (used,)), {})))
    assert found == [
        ("warning", {"title": "vm.a.root is in use"}, "in use by qemu (process 7)"),
        ("warning", {"title": "vm.a.root"}, "odd"),
    ]


def test_a_plan_without_problems_has_no_annotation() -> None:
    assert commands(list(github.plan_lines(Plan(Path("/b"), PLAN.actions[:4]), PLACES))) == []


@given(st.lists(st.text(alphabet=":#[]% ,=\t\u00a0\u3000\x0bx\n\r", max_size=12), max_size=4), st.text())
def test_no_text_of_a_guest_is_a_command(lines: list[str], name: str) -> None:
    body = "".join(f" {line}\n" for line in (*lines, "::add-mask::x", "##[add-mask]x"))
    diff = FileDiff(f"/{name}", f"--- /a\n+++ /a\n@@ -1 +1 @@\n{body}")
    patch = action(
        "vm.a.root.patch", Verb.UPDATE, because(ReasonCode.FILE_DIFFERS, guest=f"/{name}"), diffs=(diff,)
    )
    blocked = action("vm.b.root", Verb.BLOCKED, because(ReasonCode.WOULD_FAIL, message=name, hint="x"))
    found = commands(list(github.plan_lines(Plan(Path("/b"), (patch, blocked)), {})))
    assert [(level, properties) for level, properties, _ in found] == [
        ("error", {"title": "vm.b.root is blocked"})
    ]


def test_each_problem_of_a_manifest_is_an_error_at_its_line() -> None:
    problems = (
        Problem("a,b:c%.toml", 3, "vm.web", "100%\nno", "x"),
        Problem("b.toml", 0, "", "no"),
    )
    assert commands(list(github.error_lines(ManifestError(problems)))) == [
        ("error", {"file": "a,b:c%.toml", "line": "3"}, "vm.web: 100%\nno\nhint: x"),
        ("error", {"file": "b.toml"}, "no"),
    ]


def test_another_error_is_told_with_details_and_hint() -> None:
    error = BangerError("brief", details="a\nb", hint="do")
    assert commands(list(github.error_lines(error))) == [("error", {}, "brief\na\nb\nhint: do")]


def test_a_warning_is_one_line() -> None:
    assert list(github.warning_lines("a\nb: 5 %")) == ["::warning::a%0Ab: 5 %25"]


def test_files_are_named_from_where_the_repository_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv(github.WORKSPACE, str(tmp_path))
    assert github.annotation("error", "x", ("vm.toml", 1)) == "::error file=sub/vm.toml,line=1::x"
    assert github.annotation("error", "x", ("/etc/vm.toml", 0)) == "::error file=/etc/vm.toml::x"
