"""States that a power cut may leave: chosen at random from a seed, and made files of.

A state is a filesystem, a moment at which the power fails, and a choice of what is there of what was done
before and not synced.
"""

from __future__ import annotations

import os
import random
import stat
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.powercut import filesystems
from tests.powercut.content import PAGE_BYTES, SECTOR_BYTES, Content, pieces
from tests.powercut.filesystems import FILESYSTEMS, Filesystem, Kept, Needs
from tests.powercut.history import change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.powercut.history import History, Node, Operation

PAGES = ("none", "all", "some", "few", "most", "versions", "all but one", "one")
"""Which of the pages that may be there or not are there."""
ATTEMPTS = 20
"""At how many moments it is looked for a state that a sync prevents."""
Page = tuple[int, int]
"""A file's number, and which of its pages."""


@dataclass
class State:
    """One state. What is chosen is chosen; `files` makes something of it."""

    history: History
    filesystem: Filesystem
    cut: int
    journal: int
    """All metadata up to this operation is there."""
    metadata: set[int]
    """More of it."""
    kept: Kept
    pages: str
    versions: dict[Page, int]
    """Up to which operation a page is there; of others, all of it."""
    torn: set[Page]
    rng: random.Random
    _contents: dict[int, Content] = field(default_factory=dict)

    def __str__(self) -> str:
        last = self.history.operations[self.cut - 1] if self.cut else None
        after = (
            f"after {last.index} of {self.history.end}: {last.kind} {last.path}" if last else "before the run"
        )
        lost = [
            f"{one.index} {one.kind} {one.path}"
            for one in self.history.metadata
            if one.index <= self.cut and not self.is_there(one) and one.kind not in {"time", "allocate"}
        ]
        names = f": {', '.join(lost[:6])}" if lost else ""
        return (
            f"{self.filesystem.name}, cut {after}; metadata up to {self.journal}, {len(lost)} lost{names}; "
            f"{len(self.versions)} pages not synced: {self.pages}, {len(self.torn)} torn"
        )

    def is_there(self, one: Operation) -> bool:
        """Whether an operation on metadata is there."""
        return one.index <= self.cut and (one.index <= self.journal or one.index in self.metadata)

    @cached_property
    def tree(self) -> dict[str, Node]:
        """All that has a name, by its path; the recorded directory as an empty one."""
        entries = {node.number: dict(node.entries) for node in self.history.nodes if node.is_directory}
        for one in self.history.namings:
            if one.index > self.cut:
                break
            if self.is_there(one):
                _rename(entries, one)
        return dict(self._below(0, "", entries))

    def _below(
        self, number: int, path: str, entries: dict[int, dict[str, int]]
    ) -> Iterator[tuple[str, Node]]:
        node = self.history.nodes[number]
        yield path, node
        for name, below in entries.get(number, {}).items():
            yield from self._below(below, f"{path}/{name}" if path else name, entries)

    def content(self, node: Node) -> Content:
        """What a file holds."""
        if node.number not in self._contents:
            self._contents[node.number] = self._made(node) if node.operations else node.content
        return self._contents[node.number]

    def _made(self, node: Node) -> Content:
        content = node.content.copy()
        is_blocked = False  # what follows on a truncation that is not there was written to other blocks
        floor = self.kept.data_of(node.number)
        for one in node.operations:
            if one.index > self.cut:
                break
            is_forced = one.index <= floor or one.index in self.kept.writes
            if one.kind == "write":
                self._write(content, one, is_forced=is_forced, is_blocked=is_blocked)
            elif is_forced or self.is_there(one):
                change(content, one.record)
            elif one.kind == "truncate" and one.record.a < content.size:
                is_blocked = True
        return content

    def _write(self, content: Content, one: Operation, *, is_forced: bool, is_blocked: bool) -> None:
        record, at = one.record, 0
        for page, within, size in pieces(record.a, len(record.data)):
            data = record.data[at : at + size]
            at += size
            place, end = (one.node, page), page * PAGE_BYTES + within + size
            takes_room = page not in content.pages or end > content.size
            may = not takes_room or one.index <= self.journal or not self.filesystem.moments
            if is_forced or (may and not is_blocked and one.index <= self.versions.get(place, one.index)):
                content.put(page, within, data)
                content.size = max(content.size, end)
            elif not is_blocked:
                self._half(content, place, (within, data), takes_room=takes_room, may=may)

    def _half(
        self, content: Content, place: Page, piece: tuple[int, bytes], *, takes_room: bool, may: bool
    ) -> None:
        """A piece that is not there, but perhaps has left its traces."""
        (_, page), (within, data) = place, piece
        end = page * PAGE_BYTES + within + len(data)
        if place in self.torn and not takes_room:
            first = -within % SECTOR_BYTES
            cuts = [0, *range(first or SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]
            for start, stop in pairwise(cuts):
                if self.rng.random() < 0.5:
                    content.put(page, within + start, data[start:stop])
        elif (
            may
            and takes_room
            and self.filesystem.stale
            and self.rng.random() < 0.3
            and page not in content.pages
        ):
            content.pages[page] = self.rng.randbytes(PAGE_BYTES)
            content.size = max(content.size, end)
        elif may and self.filesystem.zero_tails and page in content.pages and self.rng.random() < 0.5:
            content.size = max(content.size, end)

    def mtime_ns(self, node: Node) -> int:
        """When a file was changed last, as it is known after the cut."""
        found = node.mtime_ns
        for one in node.operations:
            if one.index > self.cut:
                break
            if one.index <= self.kept.data_of(node.number) or self.is_there(one):
                found = one.record.mtime_ns
        return found

    def mode(self, node: Node) -> int:
        """The type and permissions of a file."""
        modes = [one.record.mode for one in node.operations if one.kind == "mode" and self.is_there(one)]
        return modes[-1] if modes else node.mode

    def key(self) -> int:
        """What tells this state from others: names and contents, not times."""
        return hash(
            frozenset(
                (path, node.number, self.content(node).key() if stat.S_ISREG(node.mode) else 0)
                for path, node in self.tree.items()
                if not path.endswith("-shm")
            )
        )

    def make(self, top: Path) -> dict[int, int]:
        """Make files of what the run can have changed; their inodes, each with the one of the run."""
        inodes = {}
        for path, node in self.tree.items():
            if not path or path.split("/", maxsplit=1)[0] not in self.history.changed_tops:
                continue
            place = top / path
            if node.is_directory:
                place.mkdir(mode=stat.S_IMODE(node.mode))
            elif stat.S_ISLNK(node.mode):
                place.symlink_to(node.target)
            else:
                self._shared(path, node).write_to(place, stat.S_IMODE(self.mode(node)))
                os.utime(place, ns=(self.mtime_ns(node),) * 2)
            inodes[place.lstat().st_ino] = node.ino
        return inodes

    def _shared(self, path: str, node: Node) -> Content:
        """The content of a file; of the one that SQLite's processes have mapped, anything."""
        content = self.content(node)
        if not path.endswith("-shm"):
            return content
        pages = range(-(-content.size // PAGE_BYTES))
        return self.rng.choice(
            [content, Content(content.size, {page: self.rng.randbytes(PAGE_BYTES) for page in pages})]
        )


def _rename(entries: dict[int, dict[str, int]], one: Operation) -> None:
    gone = one.source or (one.at if one.kind in {"unlink", "rmdir"} else None)
    if gone and entries[gone.directory].get(gone.name) == one.node:
        del entries[gone.directory][gone.name]
    if one.at and one.kind not in {"unlink", "rmdir"}:
        entries[one.at.directory][one.at.name] = one.node


class Chooser:
    """Chooses states of a recorded run.

    Args:
        history: the run.
        seed: what the choice depends on beside a state's number.
    """

    def __init__(self, history: History, seed: str) -> None:
        self.history = history
        self.needs = Needs(history)
        self._seed = seed

    def choose(self, number: int) -> State:
        """The state of this number."""
        rng = random.Random(f"{self._seed} {number}")  # noqa: S311
        filesystem = FILESYSTEMS[number % len(FILESYSTEMS)]
        cut = self._cut(rng)
        kept = filesystems.kept(self.history, self.needs, filesystem, cut)
        journal = self._moment(rng, kept.journal, cut) if filesystem.moments else kept.journal
        metadata = set(kept.metadata)
        if not filesystem.moments:
            share = rng.choice((0.0, 0.1, 0.5, 1.0))
            dropped = {
                one.index for one in self.needs.operations if rng.random() < share and one.index > journal
            }
            metadata = self.needs.without(lambda index: index in dropped, kept.metadata, cut)
        pages = rng.choice(PAGES)
        versions = self._versions(rng, kept, cut, pages)
        torn = {page for page in versions if rng.random() < 0.3} if rng.random() < 0.4 else set()
        return State(self.history, filesystem, cut, journal, metadata, kept, pages, versions, torn, rng)

    def _cut(self, rng: random.Random) -> int:
        """A moment at which the power fails; rather near what is a step for the program."""
        end = self.history.end
        kind = rng.random()
        if kind < 0.1:
            return end
        if kind < 0.5:
            return rng.randint(0, end)
        steps = [one.index for one in self.history.operations if one.is_sync or one.is_naming] or [end]
        return max(0, rng.choice(steps) - rng.choice((0, 0, 1)))

    def _moment(self, rng: random.Random, least: int, cut: int) -> int:
        return rng.choice((least, cut, rng.randint(least, cut), rng.randint(least, cut)))

    def _versions(self, rng: random.Random, kept: Kept, cut: int, which: str) -> dict[Page, int]:
        """Up to which write each page is there that need not be."""
        dirty = unsynced(self.history, kept, cut)
        one = rng.choice(sorted(dirty)) if dirty else (0, 0)
        share = {"none": 0.0, "all": 1.0, "few": 0.1, "most": 0.9}.get(which, 0.5)
        versions = {}
        for page, writes in dirty.items():
            if which == "versions":
                versions[page] = rng.choice([0, *writes])
            elif which in {"all but one", "one"}:
                versions[page] = writes[-1] if (page == one) == (which == "one") else 0
            else:
                versions[page] = writes[-1] if rng.random() < share else 0
        return versions

    def choose_without(self, number: int, is_left_out: Callable[[Operation], bool]) -> State | None:
        """A state that may be left if some syncs are left out, and may not be if they are made.

        Returns:
            None if there is none at any moment that was looked at.
        """
        rng = random.Random(f"{self._seed} without {number}")  # noqa: S311
        left_out = [one.index for one in self.history.operations if is_left_out(one)]
        for _ in range(ATTEMPTS):
            filesystem = rng.choice(FILESYSTEMS)
            cut = self._cut_after(rng, rng.choice(left_out))
            whole = filesystems.kept(self.history, self.needs, filesystem, cut)
            kept = filesystems.kept(self.history, self.needs, filesystem, cut, is_left_out)
            if self._prevents_more(whole, kept, cut):
                return self._between(rng, filesystem, cut, kept, whole)
        return None

    def _prevents_more(self, one: Kept, other: Kept, cut: int) -> bool:
        if (one.journal, one.metadata) != (other.journal, other.metadata):
            return True
        return unsynced(self.history, one, cut) != unsynced(self.history, other, cut)

    def _cut_after(self, rng: random.Random, sync: int) -> int:
        """A moment after a sync: the end, soon, or any."""
        end = self.history.end
        soon = min(sync + int(rng.expovariate(0.05)), end)
        return rng.choice((end, soon, rng.randint(sync, end)))

    def _between(
        self, rng: random.Random, filesystem: Filesystem, cut: int, kept: Kept, whole: Kept
    ) -> State:
        """A state of which some part is there only if all syncs were made."""
        journal = whole.journal
        if kept.journal < whole.journal:
            journal = rng.choice((kept.journal, rng.randint(kept.journal, whole.journal - 1)))
        metadata = set(whole.metadata)
        if lost := sorted(whole.metadata - kept.metadata):
            dropped = {self._one_of_a_kind(rng, lost)} if rng.random() < 0.5 else set(lost)
            metadata = self.needs.without(lambda index: index in dropped, kept.metadata, cut)
            if filesystem.moments:
                metadata &= whole.metadata
        share = rng.choice((0.0, 0.0, 0.5, 0.9))
        synced = unsynced(self.history, whole, cut)
        versions = dict.fromkeys(synced, cut)
        for page, writes in unsynced(self.history, kept, cut).items():
            if writes != synced.get(page):
                versions[page] = cut if rng.random() < share else 0
        return State(
            self.history, filesystem, cut, journal, metadata, kept, f"{share:.0%}", versions, set(), rng
        )

    def _one_of_a_kind(self, rng: random.Random, lost: list[int]) -> int:
        """One of some operations: a kind is chosen first, as a change of a size is rare."""
        kinds = {index: self.history.operations[index - 1].kind for index in lost}
        kind = rng.choice(sorted(set(kinds.values())))
        return rng.choice([index for index in lost if kinds[index] == kind])


def unsynced(history: History, kept: Kept, cut: int) -> dict[Page, list[int]]:
    """The pages that were written and perhaps are not there, each with the writes that no sync keeps."""
    dirty: dict[Page, list[int]] = {}
    for node in history.nodes:
        floor = kept.data_of(node.number)
        for one in node.operations:
            if one.index > cut:
                break
            if one.kind == "write" and one.index > floor and one.index not in kept.writes:
                for page, _, _ in pieces(one.record.a, len(one.record.data)):
                    dirty.setdefault((node.number, page), []).append(one.index)
    return dirty
