from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.digest import tree_digest
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.survey import survey
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.formats.survey import Survey
    from bangerbuild.tree import Entry

RULES = TreeRules(xattrs=False, specials=False)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub/file").write_text("content")
    (top / "other").write_text("other")
    (top / "empty").touch()
    (top / "link").symlink_to("sub")
    (top / "name").hardlink_to(top / "other")
    os.mkfifo(top / "fifo")
    return top


def contents(entries: Iterator[Entry]) -> list[tuple[object, bytes | None]]:
    """Each entry without its content, and that."""
    return [
        (
            (entry.path, entry.type, entry.mode, entry.size_bytes, entry.target, entry.mtime_ns),
            entry.content.read() if entry.content else None,
        )
        for entry in entries
    ]


def read(found: Survey) -> list[tuple[object, bytes | None]]:
    return contents(entry for entry, _ in found.entries("top"))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_survey_has_what_a_walk_finds_as_often_as_it_is_asked(top: Path) -> None:
    found = survey(top, RULES)
    assert read(found) == contents(walk_directory(top, RULES))
    assert read(found) == contents(walk_directory(top, RULES))
    assert list(found.paths()) == ["", "empty", "link", "name", "other", "sub", "sub/file"]
    assert found.size_bytes == len("othercontent")


def test_its_digest_is_that_of_the_tree(top: Path) -> None:
    for path in (top, top / "other", top / "link"):
        assert survey(path, RULES).digest == tree_digest(path, RULES)


def test_a_file_alone_is_one_entry_with_an_empty_path(top: Path) -> None:
    (top / "alias").symlink_to("other")
    ((entry, digest),) = survey(top / "alias", RULES).entries("alias")
    assert (entry.path, entry.type, len(digest)) == ("", EntryType.FILE, 64)


def test_what_is_left_out_for_its_type_is_told(top: Path) -> None:
    assert survey(top, RULES).skipped == (("fifo", EntryType.FIFO),)


def test_no_file_stays_open(top: Path) -> None:
    before = descriptors()
    found = survey(top, RULES)
    assert descriptors() == before
    for entry, _ in found.entries("top"):
        if entry.content:
            entry.content.read(1)
    assert descriptors() == before


def another_file(path: Path) -> None:
    path.unlink()
    path.write_text("content")


def link_to_another(path: Path) -> None:
    path.unlink()
    path.symlink_to("../other")


def link_on_the_way(path: Path) -> None:
    directory = path.parent
    directory.rename(directory.with_name("was"))
    directory.with_name("new").mkdir()
    directory.with_name("new").joinpath(path.name).write_text("content")
    directory.symlink_to("new")


def directory_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: path.write_text("CONTENT!"),
    "time": lambda path: os.utime(path, (1, 1)),
    "removed": lambda path: path.unlink(),
    "another file": another_file,
    "a link to another file": link_to_another,
    "a link on the way": link_on_the_way,
    "a directory": directory_there,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_another_by_now_can_not_be_read(top: Path, change: str) -> None:
    found = survey(top, RULES)
    CHANGES[change](top / "sub/file")
    with pytest.raises(
        SourceError, match=r"'top/sub/file' (changed|vanished or was replaced) while it was read"
    ):
        read(found)


def test_one_entry_can_be_read_again(top: Path) -> None:
    entry = survey(top, RULES).entry("name", "top")
    assert entry.content is not None
    assert entry.content.read() == b"other"


def test_a_path_that_is_too_long_for_one_call_is_opened_too(tmp_path: Path) -> None:
    name = "n" * 250
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        with open(os.open("long", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "w") as file:  # noqa: PTH123  # a descriptor
            file.write("deep")
    finally:
        os.close(fd)
    before = descriptors()
    assert read(survey(tmp_path, RULES))[-1][1] == b"deep"
    assert descriptors() == before


def test_names_that_are_no_utf_8_are_opened(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("odd")
    assert read(survey(tmp_path, RULES))[-1][1] == b"odd"


def test_an_entry_takes_less_than_a_kilobyte_of_memory(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"a name of usual length {number}").write_text(str(number))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        found = survey(tmp_path, RULES)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(list(found.paths())) < 1000
