"""What a recorded run did, as operations on files and directories, whatever names they had when.

A name may lead to another file later, and a file that was removed may lend its inode to the next one. So the
log is followed once, from what was there before, and each operation is told of the objects it is about.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tests.powercut.content import Content, pieces
from tests.powercut.recording import SYNCS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.powercut.recording import Record

NAMES = frozenset(("create", "mkdir", "symlink", "link", "rename", "unlink", "rmdir"))
SYNC_FLAG = 0x8


@dataclass(eq=False)
class Node:
    """A file, a directory or a symlink."""

    number: int
    mode: int
    ino: int
    """As it was while the run was recorded."""
    mtime_ns: int = 0
    content: Content = field(default_factory=Content)
    """Of a file, before the run."""
    target: str = ""
    """Of a symlink."""
    entries: dict[str, int] = field(default_factory=dict)
    """Of a directory, before the run: the numbers of other nodes."""
    operations: list[Operation] = field(default_factory=list)
    """What was done to a file itself, in order."""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True)
class Entry:
    """A name in a directory, by the directory's number."""

    directory: int
    name: str


@dataclass(frozen=True)
class Operation:
    """One record, about the objects that it changes or syncs."""

    index: int
    record: Record
    node: int
    """What is written, named, removed or synced."""
    at: Entry | None = None
    """The name that it gets or loses."""
    source: Entry | None = None
    """Of a rename: the name that it loses."""
    synced: bool = False
    """Whether it waits for the disk by itself."""
    allocates: bool = False
    """Of a write: whether it makes the file longer or fills a hole."""
    path: str = ""
    """For people, relative to the recorded directory."""

    @property
    def kind(self) -> str:
        return self.record.kind

    @property
    def is_sync(self) -> bool:
        return self.kind in SYNCS

    @property
    def is_naming(self) -> bool:
        return self.kind in NAMES

    @cached_property
    def directories(self) -> frozenset[int]:
        """The directories that it changes."""
        return frozenset(entry.directory for entry in (self.at, self.source) if entry)


def change(content: Content, record: Record) -> None:
    """Let a file have what a call changes but for data."""
    if record.kind == "truncate":
        content.truncate(record.a)
    elif record.kind == "punch":
        content.punch(record.a, record.b)
    elif record.kind == "allocate":
        content.allocate(record.a, abs(record.b))
        content.size = max(content.size, record.a + record.b)


def write(content: Content, record: Record) -> bool:
    """Write to a file; whether that takes room."""
    allocates = False
    at = 0
    for page, within, size in pieces(record.a, len(record.data)):
        allocates |= page not in content.pages
        content.put(page, within, record.data[at : at + size])
        at += size
    end = record.a + at
    allocates |= end > content.size
    content.size = max(content.size, end)
    return allocates


class History:
    """All objects, and all operations of a run.

    Args:
        top: the recorded directory, as it is before the run.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.nodes: list[Node] = []
        self.operations: list[Operation] = []
        self._live: dict[int, dict[str, int]] = {}
        """The entries of each directory, as far as the log is followed."""
        self._by_ino: dict[int, int] = {}
        self._grown: dict[int, Content] = {}
        """The files that were changed, as far as the log is followed."""
        self._synchronous: set[int] = set()
        """Files whose every write waits for the disk."""
        self._survey(top)

    def _new(self, node: Node) -> Node:
        node.number = len(self.nodes)
        self.nodes.append(node)
        self._by_ino[node.ino] = node.number
        if node.is_directory:
            self._live[node.number] = dict(node.entries)
        return node

    def _survey(self, path: Path) -> int:
        found = path.lstat()
        if found.st_ino in self._by_ino:
            return self._by_ino[found.st_ino]  # another name of a file
        node = self._new(Node(0, found.st_mode, found.st_ino, found.st_mtime_ns))
        if node.is_directory:
            node.entries = {below.name: self._survey(below) for below in sorted(path.iterdir())}
            self._live[node.number] = dict(node.entries)
        elif stat.S_ISLNK(node.mode):
            node.target = str(path.readlink())
        else:
            node.content = Content.of(path)
        return node.number

    def follow(self, records: Sequence[Record]) -> None:
        """Take the log of the run that began with what was surveyed."""
        for index, record in enumerate(records, 1):
            assert record.kind != "unknown", f"{record.path} is not followed"
            follow = self._name if record.kind in NAMES else self._change
            self.operations.append(follow(index, record))

    def _change(self, index: int, record: Record) -> Operation:
        number = self._by_ino[record.ino]
        if record.kind == "flags":
            (self._synchronous.add if record.a & SYNC_FLAG else self._synchronous.discard)(number)
        synced = record.synced or (record.kind == "write" and number in self._synchronous)
        if record.kind in SYNCS:
            return Operation(index, record, number, path=os.path.relpath(record.path, self.top))
        allocates = self._grow(number, record)
        operation = Operation(index, record, number, None, None, synced, allocates, self.name_of(number))
        self.nodes[number].operations.append(operation)
        return operation

    def _grow(self, number: int, record: Record) -> bool:
        """Follow a change of a file; whether it took room."""
        now = self._grown.setdefault(number, self.nodes[number].content.copy())
        if record.kind == "write":
            return write(now, record)
        change(now, record)
        return False

    def name_of(self, number: int) -> str:
        """A name that an object has now, for people."""
        for directory, entries in self._live.items():
            for name, there in entries.items():
                if there == number:
                    above = "" if directory == 0 else self.name_of(directory)
                    return f"{above}/{name}".lstrip("/")
        return f"(removed {number})"

    def _entry(self, path: str) -> Entry:
        *above, name = os.path.relpath(path, self.top).split("/")
        number = 0
        for part in above:
            number = self._live[number][part]
        return Entry(number, name)

    def _name(self, index: int, record: Record) -> Operation:
        path = os.path.relpath(record.path, self.top) if record.path else ""
        if record.kind in {"create", "mkdir", "symlink"}:
            node = self._new(Node(0, record.mode, record.ino, record.mtime_ns, target=record.text))
            if not record.path:  # it has no name
                return Operation(index, record, node.number)
            at = self._entry(record.path)
            self._live[at.directory][at.name] = node.number
            return Operation(index, record, node.number, at, path=path)
        if record.kind == "rename":
            source, at = self._entry(record.path), self._entry(record.text)
            number = self._live[source.directory].pop(source.name)
            self._live[at.directory][at.name] = number
            to = os.path.relpath(record.text, self.top)
            return Operation(index, record, number, at, source, path=f"{path} to {to}")
        at = self._entry(record.path)
        if record.kind == "link":
            number = self._live[at.directory][at.name] = self._by_ino[record.ino]
        else:
            number = self._live[at.directory].pop(at.name)
        return Operation(index, record, number, at, path=path)

    def now(self) -> dict[str, Node | Content]:
        """What the whole log leads to, by path: the content of each file, other nodes as they are."""
        return dict(self._now(0, ""))

    def _now(self, number: int, path: str) -> Iterator[tuple[str, Node | Content]]:
        node = self.nodes[number]
        if stat.S_ISREG(node.mode):
            yield path, self._grown.get(number, node.content)
            return
        yield path, node
        for name, below in self._live.get(number, {}).items():
            yield from self._now(below, f"{path}/{name}")

    @property
    def end(self) -> int:
        """The index of the last operation."""
        return len(self.operations)

    @cached_property
    def namings(self) -> tuple[Operation, ...]:
        return tuple(operation for operation in self.operations if operation.is_naming)

    @cached_property
    def metadata(self) -> tuple[Operation, ...]:
        """What a filesystem's journal holds beside the sizes that writes bring."""
        kinds = NAMES | {"truncate", "punch", "allocate", "flags", "mode", "time"}
        return tuple(operation for operation in self.operations if operation.kind in kinds)

    @cached_property
    def changed_tops(self) -> frozenset[str]:
        """What of the recorded directory itself the run has changed: the first parts of all its paths."""
        changed = {operation.node for operation in self.operations if not operation.is_sync}
        changed |= {number for operation in self.operations for number in operation.directories}
        tops = {
            entry.name
            for one in self.namings
            for entry in (one.at, one.source)
            if entry and not entry.directory
        }
        return frozenset(
            tops | {name for name, number in self.nodes[0].entries.items() if self._reaches(number, changed)}
        )

    def _reaches(self, number: int, wanted: set[int]) -> bool:
        return number in wanted or any(
            self._reaches(below, wanted) for below in self.nodes[number].entries.values()
        )
