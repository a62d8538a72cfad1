"""The lines of a lock file that say what a VM has been given: its address in a network, its node.

    [network.lan]
    runner-001 = "172.16.0.10"

    [placement]
    runner-001 = "node-a"

They are read line by line, not as TOML: a merge of two branches may leave one name, or one address, on two
lines, and whoever is to mend that needs both of them. Pure, but for `read`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from bangerbuild.errors import Problem
from bangerbuild.host import observed, toml

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    Given = Mapping[str, Mapping[str, str]]
    """What VMs have been given, by table and by the name of the VM."""

FILE_NAME = "bangerbuild.lock"
_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
_HEADER = re.compile(r"[ \t]*\[")
_TABLE = re.compile(r"[ \t]*\[([a-z0-9_. \t-]+)\][ \t]*(?:#.*)?")
_LEASE = re.compile(rf"""[ \t]*["']?({_NAME})["']?[ \t]*=[ \t]*["']([a-z0-9._-]+)["'][ \t]*(?:#.*)?""")
_BLANK = re.compile(r"[ \t]*(?:#.*)?")
_CONFLICT = re.compile(r"(<<<<<<<|=======|>>>>>>>|\|\|\|\|\|\|\|)")


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    return re.fullmatch(_NAME, text) is not None


@dataclass(frozen=True)
class LeaseKind:
    """Tables of leases of one kind."""

    name: re.Pattern[str]
    """Of the table."""
    fits: Callable[[str], bool]
    """Whether a text is such a value."""
    example: str
    what: str
    """What is given."""
    counted: tuple[str, str]
    """What one lease is called, and what several are."""
    is_unique: bool
    """Whether a value is given once in a table."""


KINDS = (
    LeaseKind(
        re.compile(rf"network\.{_NAME}"),
        _is_address,
        "172.16.0.10",
        "address",
        ("address", "addresses"),
        is_unique=True,
    ),
    LeaseKind(
        re.compile("placement"),
        _is_name,
        "node-a",
        "node",
        ("placement", "placements"),
        is_unique=False,
    ),
)
PLACEMENT = "placement"
"""The table that says on which node each VM is."""


def network_table(name: str) -> str:
    """The table of a network's leases."""
    return f"network.{name}"


def kind_of(table: str) -> LeaseKind | None:
    """The kind of the leases in a table; None: there are none in it."""
    return next((kind for kind in KINDS if kind.name.fullmatch(table)), None)


@dataclass(frozen=True)
class Lease:
    """One line."""

    table: str
    """`network.lan` or `placement`."""
    name: str
    """Of the VM."""
    value: str
    """The address, or the name of the node."""
    line: int
    """From 1; 0: it is not written yet."""

    @property
    def key(self) -> str:
        """The line's key path: `network.lan.runner-001`."""
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Leases:
    """All leases of a lock file, in its order."""

    path: Path
    lines: tuple[Lease, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What a merge or an editor has left; each of them refuses the file."""

    def by_table(self) -> dict[str, dict[str, Lease]]:
        """The leases of each table, by the name of the VM."""
        found: dict[str, dict[str, Lease]] = {}
        for lease in self.lines:
            found.setdefault(lease.table, {})[lease.name] = lease
        return found

    def word(self, lease: Lease) -> str:
        """What `lock --release` takes for this line alone: the VM's name; the key if the VM has others."""
        return lease.name if self._counts[lease.name] <= 1 else lease.key

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(lease.name for lease in self.lines)

    def given(self) -> dict[str, dict[str, str]]:
        """The same without their lines."""
        return {
            table: {name: lease.value for name, lease in held.items()}
            for table, held in self.by_table().items()
        }


def read(path: Path) -> Leases:
    """The leases that a lock file holds; none where there is no file.

    A file that can't be read, or is no text, has none: `resolving.lockfile` says what is wrong with it.
    """
    observed.look(path)
    try:
        text, _ = toml.read(path, may_be_pipe=False)
    except (OSError, toml.TomlError):
        return Leases(path)
    return parsed(text, path)


def parsed(text: str, path: Path) -> Leases:
    """The leases in the text of a lock file."""
    lines: list[Lease] = []
    problems: list[Problem] = []
    for lease in _lines(text, path):
        if isinstance(lease, Lease):
            lines.append(lease)
        else:
            problems.append(lease)
    found = Leases(path, tuple(lines))
    return replace(found, problems=(*problems, *_twice(found)))


def without(text: str, words: Collection[str]) -> tuple[str, tuple[Lease, ...]]:
    """The text of a lock file without some leases, and what was removed from it.

    Args:
        text: of the lock file.
        words: names of VMs, keys of lines, or tables.
    """
    rows = text.splitlines(keepends=True)
    found = (one for one in _lines(text, None) if isinstance(one, Lease))
    gone = [one for one in found if not {one.name, one.key, one.table}.isdisjoint(words)]
    dropped = {lease.line - 1 for lease in gone}
    left = [row for index, row in enumerate(rows) if index not in dropped]
    return "".join(_without_empty_tables(left)), tuple(gone)


def release_hint(words: Sequence[str]) -> str:
    """The command that frees leases; see `without`."""
    return f"bangerbuild lock --release {' --release '.join(words)}"


def another_hint(words: Sequence[str], count: int = 1) -> str:
    """How VMs get other addresses than they were leased, as many as are counted."""
    it, one = ("it", "another one") if count == 1 else ("them", "others")
    return f"free {it}, and the next plan gives {one}: {release_hint(words)}"


def _lines(text: str, path: Path | None) -> Iterator[Lease | Problem]:
    table, kind = "", None
    for number, row in enumerate(text.splitlines(), start=1):
        if _HEADER.match(row):
            table = _table_of(row)
            kind = kind_of(table)
        elif kind is not None and not _BLANK.fullmatch(row):
            yield _lease(table, kind, row, number, path)


def _table_of(row: str) -> str:
    """The name of the table that a row begins; empty if it has none that leases have."""
    header = _TABLE.fullmatch(row)
    return ".".join(part.strip() for part in header[1].split(".")) if header else ""


def _lease(table: str, kind: LeaseKind, row: str, number: int, path: Path | None) -> Lease | Problem:
    found = _LEASE.fullmatch(row)
    if found and kind.fits(found[2]):
        return Lease(table, found[1], found[2], number)
    if _CONFLICT.match(row):
        message, hint = "git has left this in conflict", "keep the lines of both sides, and run it again"
    else:
        message, hint = "this is no lease", f'one looks like NAME = "{kind.example}"; or remove the line'
    return Problem(str(path), number, table, message, hint)


def _twice(found: Leases) -> Iterator[Problem]:
    """Names that stand on two lines of one table, and what is given once and stands there twice."""
    names: dict[tuple[str, str], Lease] = {}
    values: dict[tuple[str, str], Lease] = {}
    path = str(found.path)
    for lease in found.lines:
        before = names.setdefault((lease.table, lease.name), lease)
        if before is not lease:
            message = f"'{lease.name}' has '{lease.value}' here, and '{before.value}' in line {before.line}"
            hint = f"remove one of the lines; or both of them: {release_hint([lease.key])}"
            yield Problem(path, lease.line, lease.key, message, hint)
            continue
        kind = kind_of(lease.table)
        other = values.setdefault((lease.table, lease.value), lease)
        if kind and kind.is_unique and other is not lease:
            also = f"and to '{other.name}' in line {other.line}"
            message = f"'{lease.value}' is given to '{lease.name}' here, {also}"
            yield Problem(path, lease.line, lease.key, message, another_hint([found.word(lease)]))


def _without_empty_tables(rows: Sequence[str]) -> Iterator[str]:
    """The rows without headers of tables that have no lease any more."""
    for index, row in enumerate(rows):
        if _HEADER.match(row) and kind_of(_table_of(row.rstrip("\n"))):
            rest = (later for later in rows[index + 1 :] if not _BLANK.fullmatch(later.rstrip("\n")))
            following = next(rest, "[")
            if _HEADER.match(following):
                continue
        yield row
