from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.formats.flatten import flattened
from bangerbuild.tree import Entry, EntryType

DIRECTORY, FILE, SYMLINK, HARD_LINK = (
    EntryType.DIRECTORY,
    EntryType.FILE,
    EntryType.SYMLINK,
    EntryType.HARD_LINK,
)


def tree(*entries: Entry) -> list[tuple[str, EntryType, str]]:
    return [(entry.path, entry.type, entry.target) for entry in flattened(entries)]


def test_what_lies_in_root_comes_to_the_top() -> None:
    given = [Entry(path, DIRECTORY) for path in ("", "root", "root/.ssh")]
    moved = [("", DIRECTORY, ""), ("", DIRECTORY, ""), (".ssh", DIRECTORY, ""), (".ssh/a", FILE, "")]
    assert tree(*given, Entry("root/.ssh/a", FILE)) == moved


def test_a_tree_without_root_stays_as_it_is() -> None:
    entries = [Entry("", DIRECTORY), Entry("rooted", DIRECTORY), Entry("rooted/a", FILE), Entry("b", FILE)]
    assert list(flattened(entries)) == entries


def test_what_lies_beside_root_stays_there() -> None:
    assert tree(Entry("root/a", FILE), Entry("b", FILE)) == [("a", FILE, ""), ("b", FILE, "")]


@pytest.mark.parametrize("kind", [FILE, SYMLINK])
def test_a_root_that_is_no_directory_is_a_name_like_any_other(kind: EntryType) -> None:
    assert tree(Entry("root", kind, target="x"), Entry("a", FILE)) == [("root", kind, "x"), ("a", FILE, "")]


def test_only_one_root_is_taken_away() -> None:
    entries = (Entry("root", DIRECTORY), Entry("root/root", DIRECTORY), Entry("root/root/a", FILE))
    assert tree(*entries) == [("", DIRECTORY, ""), ("root", DIRECTORY, ""), ("root/a", FILE, "")]


@pytest.mark.parametrize("late", [False, True])
def test_the_top_gets_the_attributes_of_root_whichever_comes_first(late: bool) -> None:  # noqa: FBT001  # a parameter
    top, root = Entry("", DIRECTORY, 0o755, 1, 1), Entry("root", DIRECTORY, 0o700, 7, 8)
    *_, last = flattened([root, top] if late else [top, root])
    assert (last.path, last.mode, last.uid, last.gid) == ("", 0o700, 7, 8)


def test_links_between_files_follow_them() -> None:
    assert tree(
        Entry("root/a", FILE),
        Entry("root/hard", HARD_LINK, target="root/a"),
        Entry("root/soft", SYMLINK, target="root/a"),
    ) == [("a", FILE, ""), ("hard", HARD_LINK, "a"), ("soft", SYMLINK, "root/a")]


@pytest.mark.parametrize(
    "entries",
    [
        (Entry("root/a", FILE), Entry("a", FILE)),
        (Entry("a", FILE), Entry("root", DIRECTORY), Entry("root/a", FILE)),
        (Entry("a/b", FILE), Entry("root/a", DIRECTORY), Entry("root/a/c", FILE)),
    ],
)
def test_a_name_that_stands_in_root_and_beside_it_is_refused(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(SourceError, match=r"^'a' stands both in 'root/' and beside it") as caught:
        tree(*entries)
    assert caught.value.hint == "leave one of the two out of the work_seed"


def test_content_passes_through_one_entry_at_a_time() -> None:
    asked: list[str] = []

    def source() -> list[Entry]:
        return [Entry(f"root/{name}", FILE, size_bytes=1, content=io.BytesIO(name.encode())) for name in "ab"]

    for entry in flattened(source()):
        assert entry.content is not None
        asked.append(f"{entry.path}={entry.content.read().decode()}")
    assert asked == ["a=a", "b=b"]


PATHS = st.lists(st.sampled_from(["a", "b", "root"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(PATHS, unique=True, max_size=6))
def test_nothing_is_lost_and_no_two_things_get_one_name(paths: list[str]) -> None:
    entries = [Entry(path, DIRECTORY if path == "root" else FILE) for path in paths]
    try:
        moved = [entry.path for entry in flattened(entries)]
    except SourceError:
        beside = {path.split("/")[0] for path in paths if not path.startswith("root/")} - {"root"}
        inside = {path.split("/")[1] for path in paths if path.startswith("root/")}
        assert beside & inside
        return
    assert len(set(moved)) == len(paths)
    assert sorted(moved) == sorted("" if path == "root" else path.removeprefix("root/") for path in paths)
