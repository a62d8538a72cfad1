"""What the cache remembers of the last answer, and files there that are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.fetch import answers

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    answers.write(path, {"digest": "ab", "versions": ""})
    answers.write(path, {"digest": "cd"})
    assert answers.read(path) == {"digest": "cd"}
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"digest": 1}', '{"digest": ', "[" * 100_000, '"\udc80"'])
def test_what_is_damaged_counts_as_missing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "answer.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    assert answers.read(path) == {}


def test_a_link_and_a_pipe_are_not_followed_and_not_waited_for(tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("target.json", "link.json", "pipe.json"))
    answers.write(target, {"digest": "ab"})
    link.symlink_to(target)
    os.mkfifo(pipe)
    assert answers.read(link) == answers.read(pipe) == answers.read(tmp_path / "none") == {}


def test_a_link_at_the_draft_leads_nowhere(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "answer.new").symlink_to(precious)
    answers.write(tmp_path / "answer.json", {"digest": "ab"})
    assert precious.read_text() == "mine"
