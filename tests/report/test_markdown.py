"""A plan as Markdown, judged by a Markdown parser: what foreign text may become, and how long it may be."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typing_extensions import override

from bangerbuild.errors import BangerError, ManifestError, Problem
from bangerbuild.model import FileDiff, Plan, ReasonCode, Verb
from bangerbuild.report import markdown
from tests.report.plans import MISSING, PLAN, action, because

HOSTILE = [
    "```",
    "`````diff",
    "~~~",
    "</code></pre></details><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "@everybody look at #1",
    "[click](javascript:alert(1))",
    "![x](https://example.org/pixel.png)",
    "- [ ] task",
    "# heading",
    "| a | b |",
    "&lt;b&gt;",
    "$$x$$",
    "`",
    " `` ",
    "\\",
    "\x1b]0;title\x07",
    "\u202eevil",
    "::error::x",
    "",
]


class Page(HTMLParser):
    """What a browser would have of the HTML: tags, text outside of code, and code."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.plain = ""
        self.code: list[str] = []
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render("\n".join(lines)))

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "code":
            self.code.append("")

    @override
    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    @override
    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.code[-1] += data
        else:
            self.plain += data


def hostile_plan(text: str, diff: str) -> Plan:
    """A plan with a foreign text wherever one can stand."""
    blocked = replace(
        action("vm.web.root", Verb.BLOCKED, because(ReasonCode.WOULD_FAIL, message=f"x{text}", hint=text)),
        notes=(text,),
        warnings=(text,),
    )
    patch = action(
        "vm.web.root.patch",
        Verb.UPDATE,
        because(ReasonCode.FILE_DIFFERS, guest=f"/{text}"),
        diffs=(FileDiff(f"/{text}", diff), FileDiff(f"/b{text}", note=text)),
    )
    return Plan(Path("/b"), (blocked, patch))


def unified(lines: list[str]) -> str:
    return "--- /a\n+++ /a\n@@ -0,0 +1 @@\n" + "".join(f"{mark}{line}\n" for line in lines for mark in "+ -")


def test_a_plan_begins_with_its_sum_and_folds_its_diffs() -> None:
    assert list(markdown.plan_lines(PLAN)) == [
        "### Plan: 1 to create, 1 to update, 1 to grow, 1 blocked, 1 kept",
        "",
        "- **create** `vm.db.root`: `missing`",
        "- **update** `vm.web.root.patch`: `network.dns: 1.1.1.1 -> 9.9.9.9`",
        "- **grow** `vm.web.work`: `16 GiB -> 32 GiB`",
        "- **blocked** `vm.old.root`: `image.deb.rootfs changed`",
        "  - `the guest has written to it since it was built`",
        "  - `` `bangerbuild apply --replace vm.old.root` discards what is in it ``",
        "",
        "<details><summary><code>vm.web.root.patch</code>: 2 files</summary>",
        "",
        "```diff",
        "--- /etc/resolv.conf",
        "@@ -1 +1 @@",
        "-nameserver 1.1.1.1",
        "+nameserver 9.9.9.9",
        "/root/.ssh/id: changes (contents not shown)",
        "```",
        "",
        "</details>",
    ]


def test_without_diffs_nothing_is_folded_and_in_full_kept_steps_are_listed() -> None:
    lines = list(markdown.plan_lines(PLAN, diffs=False, in_full=True))
    assert not any("<details>" in line for line in lines)
    assert "- **keep** `image.deb.rootfs`" in lines


def test_what_left_the_manifest_is_said_below_the_sum() -> None:
    lines = list(markdown.plan_lines(replace(PLAN, undeclared=("vm.gone",))))
    assert lines[2].startswith("``vm.gone is no longer declared")


def allowed(page: Page) -> bool:
    return page.tags <= {"h3", "ul", "li", "strong", "code", "p", "details", "summary", "pre"}


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text(text: str) -> None:
    page = Page(list(markdown.plan_lines(hostile_plan(text, unified([text, *HOSTILE])))))
    assert allowed(page), page.tags
    assert set(re.findall(r"[A-Za-z]+", page.plain)) <= {
        "Plan",
        "blocked",
        "update",
        "files",
        "warning",
        "to",
    }
    assert page.open == []


@given(st.text(alphabet="`~<>&@#\\ |-+*_[]()\n\r\t!x\u2028\x00", max_size=40), st.integers(0, 3))
def test_whatever_a_guest_holds_ends_no_fence_and_no_span(text: str, times: int) -> None:
    page = Page(list(markdown.plan_lines(hostile_plan(text, unified([text] * times)))))
    assert allowed(page), page.tags
    assert "x" not in page.plain.replace("text", "")


def test_a_span_has_the_text_itself() -> None:
    plan = Plan(Path("/b"), (action("a", Verb.UPDATE, because(ReasonCode.FILE_DIFFERS, guest="/``a` `")),))
    assert "/``a` ` differs in the guest" in Page(list(markdown.plan_lines(plan))).code


def big(count: int, lines: int) -> Plan:
    diff = FileDiff("/a", unified([f"line {number} {'😀' * 20}" for number in range(lines)]))
    first = [
        action(f"vm.v{number}.root.patch", Verb.UPDATE, MISSING, diffs=(diff,)) for number in range(count)
    ]
    return Plan(Path("/b"), (*first, action("vm.last.root", Verb.REPLACE), action("vm.z.root", Verb.BLOCKED)))


@pytest.mark.parametrize(("count", "lines"), [(1, 0), (40, 30), (3000, 1), (5000, 0), (2, 20_000)])
def test_a_comment_is_never_too_long(count: int, lines: int) -> None:
    text = "\n".join(markdown.plan_lines(big(count, lines)))
    assert len(text.encode("utf-16-le")) // 2 < 65_000
    assert "- **replace** `vm.last.root`" in text
    assert "- **blocked** `vm.z.root`" in text


def test_what_was_cut_is_counted() -> None:
    lines = list(markdown.plan_lines(big(3000, 1)))
    shown_rows = sum(line.startswith("- **update**") for line in lines)
    shown_lines = sum(line.startswith(("+", "-line", " ")) and line != "" for line in lines)
    begin = "Left out, as a comment may not be longer: "
    assert lines[-1].startswith(begin)
    said = re.fullmatch(
        r"([0-9,]+) steps \(([0-9,]+) update\) and ([0-9,]+) lines of diffs\.", lines[-1].removeprefix(begin)
    )
    assert said
    rows, updates, diff_lines = (int(number.replace(",", "")) for number in said.groups())
    assert rows == updates == 3000 - shown_rows
    assert diff_lines > 3 * (3000 - shown_lines // 3) - 3


def test_of_a_long_diff_and_a_long_line_it_is_said_how_much_is_missing() -> None:
    diff = FileDiff("/a", unified(["x" * 10_000, *["y"] * 100]))
    lines = list(markdown.plan_lines(Plan(Path("/b"), (action("a.patch", Verb.UPDATE, diffs=(diff,)),))))
    assert any(line.endswith("... 9,501 more characters") for line in lines)
    assert "... 104 more lines" in lines
    assert lines[-1] == "Left out, as a comment may not be longer: 104 lines of diffs."


def test_of_many_reasons_the_first_are_listed() -> None:
    many = [because(ReasonCode.FILE_DIFFERS, guest=f"/{number}") for number in range(1000)]
    lines = list(markdown.plan_lines(Plan(Path("/b"), (action("a", Verb.UPDATE, *many),))))
    assert lines[-1] == "  - and 979 more"


def test_problems_of_a_manifest_are_listed_with_their_places() -> None:
    problems = (
        Problem("vm.toml", 3, "vm.web", "no `x`", "did you mean 'y'?"),
        Problem("b.toml", 0, "", "no"),
    )
    assert list(markdown.error_lines(ManifestError(problems))) == [
        "### 2 problems",
        "",
        "- `vm.toml:3`: ``vm.web: no `x` ``".replace("``vm", "`` vm"),
        "  - `did you mean 'y'?`",
        "- `b.toml`: `no`",
    ]


def test_problems_that_do_not_fit_are_counted() -> None:
    problems = tuple(Problem("vm.toml", number, "", "x" * 400) for number in range(1000))
    lines = list(markdown.error_lines(ManifestError(problems)))
    shown = sum(line.startswith("- ") for line in lines)
    assert sum(map(len, lines)) < 65_000
    assert lines[-1] == f"Left out, as a comment may not be longer: {1000 - shown} problems."


def test_an_error_is_told_with_details_and_hint() -> None:
    error = BangerError("'x' failed", details="```\nmore", hint="try `y`")
    assert list(markdown.error_lines(error)) == [
        "### Error",
        "",
        "`'x' failed`",
        "",
        "````text",
        "```",
        "more",
        "````",
        "",
        "`` try `y` ``",
    ]
