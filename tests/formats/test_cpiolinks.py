"""Names of one inode, in the orders in which writers put them."""

from __future__ import annotations

import pytest

from bangerbuild.formats.cpiolinks import HardLinks
from bangerbuild.tree import Entry, EntryType


def fed(*members: str) -> list[str]:
    """What comes of members such as `a1` (name a, with content) and `b0`; one in capitals is of no group."""
    links, out = HardLinks(), []
    for member in members:
        name, size = member[0], int(member[1])
        if name.isupper():
            links.forget(name.lower())
            out.append(name.lower())
        else:
            out += map(shown, links.add("inode", Entry(name, EntryType.FILE, size_bytes=size)))
    return out + [shown(entry) for entry in links.finish()]


def shown(entry: Entry) -> str:
    return f"{entry.path}->{entry.target}" if entry.target else entry.path


@pytest.mark.parametrize(
    ("members", "entries"),
    [
        (["a0", "b0", "c5"], ["c", "a->c", "b->c"]),
        (["a5", "b0", "c0"], ["a", "b->a", "c->a"]),
        (["a0", "b5", "c0"], ["b", "a->b", "c->a"]),
        (["a5", "b6"], ["a", "b", "a->b"]),
        (["a0", "b0"], ["a", "b->a"]),
        (["a0"], ["a"]),
        (["a0", "A0", "b0"], ["a", "b"]),
        (["a0", "A0", "b3"], ["a", "b"]),
        (["a0", "A0"], ["a"]),
        (["a0", "b0", "B0", "c5"], ["b", "c", "a->c"]),
        (["a5", "b0", "A0", "c0"], ["a", "b->a", "a", "c->b"]),
        (["a0", "a5"], ["a"]),
    ],
)
def test_content_comes_first_and_each_name_once(members: list[str], entries: list[str]) -> None:
    assert fed(*members) == entries


def test_other_inodes_are_other_files() -> None:
    links = HardLinks()
    assert [*links.add(1, Entry("a", EntryType.FIFO))] == [Entry("a", EntryType.FIFO)]
    assert [*links.add(2, Entry("b", EntryType.FIFO))] == [Entry("b", EntryType.FIFO)]
    (link,) = links.add(1, Entry("c", EntryType.FIFO))
    assert (link.type, link.target) == (EntryType.HARD_LINK, "a")
