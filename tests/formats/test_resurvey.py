"""A survey that starts from an earlier one finds what one from the beginning does, and reads what changed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.formats import digest
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.survey import survey
from bangerbuild.host import remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.formats.survey import Survey, Walked

RULES = TreeRules(exclude=("*.out", "build/"), specials=False)
SETTLED_SECONDS = 0.03
"""A change within the clock's tick does not show, so a survey does not trust what is so young."""
FILES = ("a", "b", "s/c", "s/t/d", "s/t/e.out", "u/f")
DIRECTORIES = ("s", "s/t", "u", "v", "build")
PLACES = (*FILES, *DIRECTORIES, "s/new", "v/w")


def walked(found: Survey) -> Walked:
    """As it comes back from a file."""
    back: Walked = remembered.loaded(b"", remembered.dumped(b"", found.walked()))
    return back


def written(path: Path) -> None:
    with path.open("a") as file:
        file.write("more")


def saved_by_an_editor(path: Path) -> None:
    draft = path.with_name("draft~")
    draft.write_text("CONTENT")
    draft.rename(path)


def unseen(path: Path) -> None:
    """As many other bytes, and the time put back."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def made_a_directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


def linked_again(path: Path) -> None:
    path.with_name("other name").hardlink_to(path)


def linked_before(path: Path) -> None:
    path.with_name("0").hardlink_to(path)


EDITS: dict[str, Callable[[Path], object]] = {
    "written": written,
    "saved by an editor": saved_by_an_editor,
    "changed with its time put back": unseen,
    "removed": removed,
    "another mode": lambda path: path.chmod(0o700),
    "an attribute": lambda path: os.setxattr(path, "user.colour", b"red"),
    "moved": lambda path: path.rename(path.with_name("moved")),
    "moved up": lambda path: path.rename(path.parent.parent / "up"),
    "made": lambda path: path.write_text("new"),
    "made a directory": made_a_directory,
    "made a link": lambda path: path.symlink_to("elsewhere"),
    "made a pipe": os.mkfifo,
    "linked again": linked_again,
    "linked before": linked_before,
}


def make(top: Path) -> None:
    for name in DIRECTORIES:
        (top / name).mkdir(parents=True)
    for name in FILES:
        (top / name).write_text(f"content of {name}")
    (top / "link").symlink_to("s")
    (top / "s/twin").hardlink_to(top / "s/c")
    os.mkfifo(top / "u/pipe")


@pytest.fixture
def top() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        make(Path(directory))
        time.sleep(SETTLED_SECONDS)
        yield Path(directory)


@settings(max_examples=60)
@given(edits=st.lists(st.tuples(st.sampled_from(sorted(EDITS)), st.sampled_from(PLACES)), max_size=4))
def test_whatever_is_edited_it_finds_what_a_walk_from_the_beginning_finds(
    edits: list[tuple[str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        make(place)
        time.sleep(SETTLED_SECONDS)
        before = walked(survey(place, RULES))
        for edit, name in edits:
            try:
                EDITS[edit](place / name)
            except OSError:  # there is no such thing there by now
                continue
        now, fresh = survey(place, RULES, before=before), survey(place, RULES)
        assert now.digest == fresh.digest
        assert list(now.seen()) == list(fresh.seen())
        assert sorted(now.skipped) == sorted(fresh.skipped)
        assert fresh.digest == digest.tree_digest(place, RULES)


def read_files(monkeypatch: pytest.MonkeyPatch, again: Callable[[], Survey]) -> tuple[Survey, int]:
    """What a survey finds, and how many files it read."""
    count = 0
    real = digest._sha256

    def counted(*arguments: object) -> str:
        nonlocal count
        count += 1
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(digest, "_sha256", counted)
        return again(), count


@pytest.mark.parametrize(
    ("edit", "read"),
    [(None, 0), (written, 1), (saved_by_an_editor, 1), (unseen, 1), (removed, 0)],
    ids=lambda one: getattr(one, "__name__", str(one)),
)
def test_only_what_changed_is_read(
    top: Path, monkeypatch: pytest.MonkeyPatch, edit: Callable[[Path], object] | None, read: int
) -> None:
    before = walked(survey(top, RULES))
    if edit is not None:
        edit(top / "s/t/d")
    found, count = read_files(monkeypatch, lambda: survey(top, RULES, before=before))
    assert (found.is_news, count) == (edit is not None, read)


def test_what_was_too_young_to_be_trusted_is_read_again(monkeypatch: pytest.MonkeyPatch, top: Path) -> None:
    (top / "b").write_text("young")
    before = walked(survey(top, RULES))
    _, count = read_files(monkeypatch, lambda: survey(top, RULES, before=before))
    assert count == 1


def test_a_name_that_comes_before_those_that_are_known_is_the_first(top: Path) -> None:
    """Where a rename leaves the times of what is renamed alone, which POSIX allows."""
    entries, skipped = walked(survey(top, RULES))
    (top / "s/c").rename(top / "0")
    found = (top / "s/twin").lstat()
    state = (*digest.stat_key(found), found.st_mode, found.st_nlink)
    kept = [(*one[:-2], state, True) if one[0] == "s/twin" else one for one in entries]
    assert survey(top, RULES, before=(kept, skipped)).digest == survey(top, RULES).digest


def test_a_file_alone_and_a_tree_that_became_one_are_walked(top: Path) -> None:
    before = walked(survey(top, RULES))
    assert survey(top / "a", RULES, before=before).digest == survey(top / "a", RULES).digest
    alone = walked(survey(top / "a", RULES))
    assert survey(top, RULES, before=alone).digest == survey(top, RULES).digest
