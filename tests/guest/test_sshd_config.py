from __future__ import annotations

import pytest

from bangerbuild.errors import FilesystemError
from bangerbuild.guest.sshd_config import Directive, directives, for_root, in_pattern_list
from tests.guest.view import DictView, guest

CONFIG = "/etc/ssh/sshd_config"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"


def lines_for_root(files: dict[str, str]) -> list[tuple[str, str, bool]]:
    """Keyword, arguments and whether it is in a Match block."""
    return [(d.keyword, " ".join(d.arguments), d.in_match) for d in for_root(guest(dict(files)))]


def test_a_line_is_a_keyword_in_lower_case_and_its_arguments() -> None:
    config = b'# no\n\n  Port=22 # ssh\r\n"AllowUsers"\troot "a b"\nUsePAM = yes\n'
    assert [(d.keyword, d.arguments) for d in directives(config)] == [
        ("port", ("22",)),
        ("allowusers", ("root", "a b")),
        ("usepam", ("yes",)),
    ]


@pytest.mark.parametrize("text", ['"unclosed', "\\" * 900_000])
def test_a_line_that_sshd_refuses_has_no_arguments(text: str) -> None:
    assert Directive("allowusers", text).arguments == ()


def test_included_files_are_read_where_their_line_stands_in_the_order_of_their_names() -> None:
    files = {
        CONFIG: f"Port 1\n{INCLUDE}Port 9\n",
        "/etc/ssh/sshd_config.d/b.conf": "Port 3\n",
        "/etc/ssh/sshd_config.d/a.conf": "Port 2\nInclude more/*\n",
        "/etc/ssh/sshd_config.d/.hidden.conf": "Port 7\n",
        "/etc/ssh/sshd_config.d/readme": "Port 8\n",
        "/etc/ssh/more/x": "Port 4\n",
    }
    assert [text for _, text, _ in lines_for_root(files)] == ["1", "2", "4", "3", "9"]


def test_files_that_include_each_other_come_to_an_end() -> None:
    again = "Port 1\nInclude sshd_config sshd_config\n"
    assert set(lines_for_root({CONFIG: again})) == {("port", "1", False)}


@pytest.mark.parametrize(
    ("criteria", "holds"),
    [
        ("all", True),
        ("ALL", True),
        ("User root", True),
        ("user=root", True),
        ("User *,!git", True),
        ("User *,!root", False),
        ("User git", False),
        ("Group sftp", False),
        ("User root Address 10.0.0.0/8", False),
    ],
)
def test_a_match_block_holds_for_root_by_its_user_alone(criteria: str, *, holds: bool) -> None:
    found = lines_for_root({CONFIG: f"Port 1\nMatch {criteria}\n  MaxSessions 2\n"})
    assert found == [("port", "1", False), *([("maxsessions", "2", True)] if holds else [])]


def test_a_match_block_ends_with_its_file() -> None:
    files = {CONFIG: f"{INCLUDE}Port 1\n", "/etc/ssh/sshd_config.d/a.conf": "Match User git\nPort 2\n"}
    assert lines_for_root(files) == [("port", "1", False)]


def test_an_include_in_a_match_block_is_in_that_block() -> None:
    files = {CONFIG: f"Match User root\n{INCLUDE}", "/etc/ssh/sshd_config.d/a.conf": "MaxSessions 2\n"}
    assert lines_for_root(files) == [("maxsessions", "2", True)]


def test_a_file_that_cannot_be_read_says_nothing() -> None:
    broken = {"/etc/ssh/sshd_config.d/a.conf": FilesystemError("it is a directory")}
    view = DictView({CONFIG: f"{INCLUDE}Port 1\n".encode()}, broken=broken)
    assert [directive.keyword for directive in for_root(view)] == ["port"]


@pytest.mark.parametrize(
    ("patterns", "is_in"),
    [("root", True), ("r?ot", True), ("*", True), ("*,!root", False), ("!root,*", False), ("[r]oot", False)],
)
def test_a_pattern_list_has_wildcards_and_exceptions(patterns: str, *, is_in: bool) -> None:
    assert in_pattern_list("root", patterns) == is_in
