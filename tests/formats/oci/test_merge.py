"""Layers applied to layers, each made by hand, entry by entry: the rules of the specification's layer.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.tree import EntryType
from tests.formats.oci.making import directory, hard_link, layout_of, opaque, symlink, tarball, whiteout
from tests.formats.oci.reading import Node, read_layers, streamed
from tests.formats.tarmaking import header, member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Merged = Callable[..., dict[str, str]]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return tmp_path / "layout"


@pytest.fixture
def merged(layout: Path) -> Merged:
    """What layers of these members amount to: each path with its content, a symlink's text, or its type."""

    def merge(*layers: list[bytes]) -> dict[str, str]:
        path = layout_of(layout, *(tarball(*members) for members in layers))
        return {
            entry.path: data.decode() or entry.target or entry.type.value for entry, data in read_layers(path)
        }

    return merge


def refusal(layout: Path, *layers: list[bytes]) -> SourceError:
    path = layout_of(layout, *(tarball(*members) for members in layers))
    with pytest.raises(SourceError) as caught:
        read_layers(path)
    assert caught.value.brief.startswith(f"'oci:image: layer {len(layers)} of {len(layers)}': ")
    assert "\n" not in caught.value.brief
    assert "build the image again" in str(caught.value.hint)
    return caught.value


A, B = member(b"a", b"one"), member(b"b", b"two")


def test_a_later_layer_adds_to_and_replaces_what_is_there(merged: Merged) -> None:
    assert merged([A, B], [member(b"b", b"new"), member(b"c", b"three")]) == {
        "a": "one",
        "b": "new",
        "c": "three",
    }


def test_the_last_of_several_entries_of_one_layer_counts(merged: Merged) -> None:
    assert merged([A, member(b"./a", b"again"), member(b"/a", b"last")]) == {"a": "last"}


def test_a_whiteout_removes_a_name_and_is_not_seen_itself(merged: Merged) -> None:
    assert merged([A, B], [whiteout(b"a")]) == {"b": "two"}


def test_a_whiteout_removes_a_directory_with_all_that_is_in_it(merged: Merged) -> None:
    layer = [directory(b"d"), directory(b"d/e"), member(b"d/e/f", b"x"), A]

    assert merged(layer, [whiteout(b"d")]) == {"a": "one"}


def test_a_whiteout_of_nothing_is_none(merged: Merged) -> None:
    assert merged([A], [whiteout(b"no"), whiteout(b"no/such"), whiteout(b"a/below"), opaque(b"no")]) == {
        "a": "one"
    }


def test_a_whiteout_in_the_lowest_layer_is_none(merged: Merged) -> None:
    assert merged([whiteout(b"a"), A]) == {"a": "one"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_spares_what_its_own_layer_has_wherever_it_stands(merged: Merged, order: int) -> None:
    assert merged([A], [member(b"a", b"new"), whiteout(b"a")][::order]) == {"a": "new"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_removed_directory_may_come_back_in_the_same_layer(merged: Merged, order: int) -> None:
    lower = [directory(b"d"), member(b"d/old", b"x"), directory(b"d/e"), member(b"d/e/old", b"x")]
    upper = [directory(b"d"), directory(b"d/e"), member(b"d/e/new", b"y")]

    found = merged(lower, [whiteout(b"d"), *upper] if order == 1 else [*upper, whiteout(b"d")])

    assert found == {"d": "directory", "d/e": "directory", "d/e/new": "y"}


@pytest.mark.parametrize("order", [1, -1])
def test_an_opaque_directory_hides_all_that_lower_layers_put_into_it(merged: Merged, order: int) -> None:
    lower = [directory(b"a"), directory(b"a/b"), directory(b"a/b/c"), member(b"a/b/c/bar", b"x")]
    upper = [
        directory(b"a"),
        opaque(b"a"),
        directory(b"a/b"),
        directory(b"a/b/c"),
        member(b"a/b/c/foo", b"y"),
    ]

    found = merged(lower, upper[::order] if order == 1 else [*upper[:1], *upper[2:], opaque(b"a")])

    assert found == {"a": "directory", "a/b": "directory", "a/b/c": "directory", "a/b/c/foo": "y"}


def test_an_opaque_directory_stays_itself(merged: Merged) -> None:
    assert merged([directory(b"a"), member(b"a/x", b"x")], [opaque(b"a")]) == {"a": "directory"}


def test_the_top_may_be_opaque(merged: Merged) -> None:
    assert merged([A, B], [member(b"./.wh..wh..opq"), member(b"c", b"new")]) == {"c": "new"}


def test_what_was_hidden_stays_hidden_when_its_name_comes_back(merged: Merged) -> None:
    lower = [directory(b"d"), member(b"d/x", b"x")]

    assert merged(lower, [whiteout(b"d")], [directory(b"d")]) == {"d": "directory"}


def test_a_file_replaces_a_directory_and_a_directory_the_file(merged: Merged) -> None:
    first = [directory(b"x"), member(b"x/in", b"1")]

    assert merged(first, [member(b"x", b"file")]) == {"x": "file"}


def test_and_back(merged: Merged) -> None:
    first = [directory(b"x"), member(b"x/in", b"1")]

    found = merged(first, [member(b"x", b"file")], [directory(b"x"), member(b"x/new", b"2")])

    assert found == {"x": "directory", "x/new": "2"}


def test_a_directory_over_a_directory_changes_its_attributes_and_keeps_what_is_in_it(layout: Path) -> None:
    lower = [directory(b"d", mode=0o700, uid=7, mtime=1), member(b"d/x", b"x")]
    path = layout_of(layout, tarball(*lower), tarball(directory(b"d", mode=0o1777, uid=8, mtime=2)))

    found = streamed(path)

    assert (found["d"].mode, found["d"].uid, found["d"].mtime_ns) == (0o1777, 8, 2_000_000_000)
    assert "d/x" in found


def test_the_attributes_of_the_top_are_the_last_layers_that_names_it(layout: Path) -> None:
    path = layout_of(
        layout,
        tarball(directory(b"./", mode=0o700)),
        tarball(directory(b"./", mode=0o711)),
        tarball(A),
    )

    assert streamed(path)[""].mode == 0o711


def test_a_directory_that_no_layer_names_is_left_to_the_reader_unless_it_is_empty(layout: Path) -> None:
    path = layout_of(layout, tarball(member(b"d/x", b"x"), member(b"e/x", b"x")), tarball(whiteout(b"d/x")))

    found = streamed(path)

    assert sorted(found) == ["d", "e/x"]
    assert found["d"] == Node(EntryType.DIRECTORY, 0o755, 0, 0, 0, "", (0, 0), (), "", ())


def test_a_hidden_directory_that_comes_back_unnamed_has_lost_its_attributes(layout: Path) -> None:
    lower = tarball(directory(b"d", mode=0o700), member(b"d/old", b"x"))
    path = layout_of(layout, lower, tarball(whiteout(b"d"), member(b"d/new", b"y")))

    assert sorted(streamed(path)) == ["d/new"]


# hard links


def links(found: dict[str, Node]) -> set[tuple[str, ...]]:
    return {node.names for node in found.values() if node.names}


def test_a_hard_link_may_name_a_file_of_a_lower_layer(layout: Path) -> None:
    path = layout_of(layout, tarball(A), tarball(hard_link(b"link", b"a")))

    assert links(streamed(path)) == {("a", "link")}


def test_a_file_lives_on_under_its_other_names_when_one_is_removed(layout: Path) -> None:
    path = layout_of(layout, tarball(A, hard_link(b"x", b"a")), tarball(whiteout(b"a")))

    found = read_layers(path)

    assert [(entry.path, entry.type, data) for entry, data in found] == [("x", EntryType.FILE, b"one")]


def test_a_name_that_is_replaced_leaves_the_others_what_they_were(layout: Path) -> None:
    path = layout_of(
        layout,
        tarball(A, hard_link(b"x", b"a"), hard_link(b"y", b"a")),
        tarball(member(b"a", b"new")),
    )

    found = streamed(path)

    assert links(found) == {("x", "y")}
    assert found["a"].content != found["x"].content


def test_a_hard_link_names_what_is_there_when_it_comes(layout: Path) -> None:
    lower = tarball(A)
    path = layout_of(layout, lower, tarball(member(b"a", b"new"), hard_link(b"x", b"a")))

    assert links(streamed(path)) == {("a", "x")}


def test_a_hard_link_to_a_symlink_is_a_further_name_of_the_symlink(layout: Path) -> None:
    path = layout_of(layout, tarball(symlink(b"s", b"a"), A), tarball(hard_link(b"x", b"s")))

    found = streamed(path)

    assert links(found) == {("s", "x")}
    assert found["x"].target == "a"


def test_names_in_three_layers_are_one_file(layout: Path) -> None:
    path = layout_of(layout, tarball(A), tarball(hard_link(b"b", b"a")), tarball(hard_link(b"c", b"b")))

    assert links(streamed(path)) == {("a", "b", "c")}


@pytest.mark.parametrize(
    ("members", "target", "what"),
    [
        ([whiteout(b"a")], "a", "is not there"),
        ([], "no/such", "is not there"),
        ([], "a/below", "is not there"),
        ([directory(b"d")], "d", "is a directory"),
        ([], "", "is a directory"),
    ],
)
def test_a_hard_link_to_what_is_no_file_is_refused_by_name(
    layout: Path, members: list[bytes], target: str, what: str
) -> None:
    error = refusal(layout, [A], [*members, hard_link(b"link", target.encode() or b"/")])

    assert error.brief.endswith(f"'link' is a hard link to '{target}', which {what}")


def test_a_hard_link_to_itself_changes_nothing(merged: Merged) -> None:
    assert merged([A, hard_link(b"a", b"a")]) == {"a": "one"}


# symlinks on the way


def test_a_parent_that_is_a_symlink_is_followed_inside_the_tree(merged: Merged) -> None:
    lower = [directory(b"usr"), directory(b"usr/lib"), symlink(b"lib", b"usr/lib")]

    assert merged(lower, [member(b"lib/x", b"x")]) == {
        "usr": "directory",
        "usr/lib": "directory",
        "lib": "usr/lib",
        "usr/lib/x": "x",
    }


@pytest.mark.parametrize("text", [b"/etc", b"../../../../etc", b"./etc/.", b"no/../etc"])
def test_a_symlink_never_leads_out_of_the_tree(merged: Merged, text: bytes) -> None:
    assert merged([directory(b"etc"), symlink(b"s", text), member(b"s/passwd", b"x")]) == {
        "etc": "directory",
        "s": text.decode(),
        "etc/passwd": "x",
    }


def test_whiteouts_and_hard_links_follow_parents_too(merged: Merged) -> None:
    lower = [directory(b"d"), member(b"d/x", b"x"), member(b"d/y", b"y"), symlink(b"s", b"d")]

    assert merged(lower, [whiteout(b"s/x"), hard_link(b"y", b"s/y")]) == {
        "d": "directory",
        "d/y": "y",
        "s": "d",
        "y": "d/y",
    }


def test_the_last_component_is_replaced_and_not_followed(merged: Merged) -> None:
    lower = [directory(b"d"), member(b"d/x", b"x"), symlink(b"s", b"d")]

    assert merged(lower, [directory(b"s"), member(b"s/y", b"y")]) == {
        "d": "directory",
        "d/x": "x",
        "s": "directory",
        "s/y": "y",
    }


def test_a_symlink_to_nowhere_makes_the_directory_it_names(merged: Merged) -> None:
    assert merged([symlink(b"s", b"nowhere"), member(b"s/x", b"x")]) == {"s": "nowhere", "nowhere/x": "x"}


def test_symlinks_in_a_circle_are_refused_by_the_name_of_the_entry(layout: Path) -> None:
    error = refusal(layout, [symlink(b"s", b"t"), symlink(b"t", b"s"), member(b"s/x")])

    assert error.brief.endswith("'s/x' lies below symlinks that lead round in a circle")


def test_a_parent_that_is_a_file_is_refused(layout: Path) -> None:
    assert refusal(layout, [A], [member(b"a/x")]).brief.endswith(
        "'a/x' lies below 'a', which is no directory"
    )


# odd and hostile names


@pytest.mark.parametrize("name", [b"../x", b"a/../../x", b".."])
def test_an_entry_that_leads_out_of_the_tree_is_refused(layout: Path, name: bytes) -> None:
    assert "leads out of the tree" in refusal(layout, [member(name)]).brief


@pytest.mark.parametrize(("name", "removed"), [(b".wh.", ""), (b"d/.wh..", "."), (b"d/.wh...", "..")])
def test_a_whiteout_of_no_name_is_refused(layout: Path, name: bytes, removed: str) -> None:
    lower = [directory(b"d"), member(b"d/x", b"x")]

    error = refusal(layout, lower, [member(name)])

    assert error.brief.endswith(f"'{name.decode()}' marks '{removed}' as removed, which is no name")


@pytest.mark.parametrize("kind", [b"5", b"3", b"6"])
def test_a_whiteout_that_is_no_file_is_refused(layout: Path, kind: bytes) -> None:
    assert "'.wh.a' is a " in refusal(layout, [A], [header(b".wh.a", kind=kind)]).brief


def test_whiteouts_may_be_hard_links_to_each_other_as_aufs_made_them(merged: Merged) -> None:
    assert merged([A, B], [whiteout(b"a"), hard_link(b".wh.b", b".wh.a"), member(b"c", b"c")]) == {"c": "c"}


@pytest.mark.parametrize("name", [b".wh.d/x", b"d/.wh.e/.wh.x", b".wh./x"])
def test_an_entry_below_a_whiteout_is_refused(layout: Path, name: bytes) -> None:
    assert "and names with '.wh.' mark what is removed" in refusal(layout, [A], [member(name)]).brief


def test_what_aufs_kept_at_the_top_is_left_out_but_for_the_files_it_holds(layout: Path) -> None:
    path = layout_of(
        layout,
        tarball(
            directory(b".wh..wh.plnk"),
            member(b".wh..wh.plnk/7.9", b"kept"),
            hard_link(b"a", b".wh..wh.plnk/7.9"),
            hard_link(b"b", b".wh..wh.plnk/7.9"),
            member(b".wh..wh.aufs"),
        ),
    )

    found = streamed(path)

    assert sorted(found) == ["a", "b"]
    assert links(found) == {("a", "b")}


def test_names_that_only_look_like_whiteouts_are_names(merged: Merged) -> None:
    assert merged([A], [member(b"wh.a", b"1"), member(b".wha", b"2"), member(b".WH.a", b"3")]) == {
        "a": "one",
        "wh.a": "1",
        ".wha": "2",
        ".WH.a": "3",
    }


def test_many_whiteouts_of_one_large_directory_take_no_longer_than_one(merged: Merged) -> None:
    names = [b"d/%d" % number for number in range(3000)]

    found = merged([directory(b"d")], [member(name) for name in names] + [whiteout(b"d")] * 3000)

    assert len(found) == 3000  # and `d` itself is the upper layer's, which does not name it
