"""What `status` prints for people: a row for each VM, image and network, and the totals; or one a file.

VMs of a fleet that are in the same state have one row.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

from bangerbuild.commands import status
from bangerbuild.commands.status import STATES
from bangerbuild.errors import few, readable_size
from bangerbuild.model import StepId, Verb
from bangerbuild.report.fleets import FEWEST, drawn_together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bangerbuild.commands.status import ArtifactStatus

NOUNS = {"vm": "VM", "image": "image", "network": "network"}
CURRENT = STATES[Verb.KEEP]
GRAVITY = (
    status.DAMAGED,
    STATES[Verb.BLOCKED],
    status.UNREADABLE,
    status.UNJUDGED,
    STATES[Verb.ADOPT],
    STATES[Verb.CREATE],
    STATES[Verb.UPDATE],
    status.RENAMED,
)
"""States, the gravest first: a VM has that of its worst file. What is no longer declared comes after them."""


def file_lines(statuses: Sequence[ArtifactStatus]) -> Iterator[str]:
    """A row for each file."""
    return _table(("STATE", "SIZE", "ALLOCATED", "ARTIFACT", "BASE"), map(_file_row, statuses))


def lines(
    statuses: Sequence[ArtifactStatus], fleets: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Iterator[str]:
    """A row for each VM, image and network, and the totals.

    Args:
        statuses: of all files.
        fleets: the names of the members of each fleet.
    """
    owned: dict[StepId, list[ArtifactStatus]] = {}
    for one in statuses:
        owned.setdefault(StepId(one.id).owner, []).append(one)
    columns = ("STATE", "SIZE", "ALLOCATED", "WHAT", "FILES")
    yield from _table(columns, _rows(owned, fleets))
    yield _totals(owned)


def _rows(
    owned: Mapping[StepId, Sequence[ArtifactStatus]], fleets: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, ...]]:
    """Members of a fleet are drawn together where the first of them would stand."""
    fleet_of = {f"vm.{name}": fleet for fleet, names in fleets.items() for name in names}
    groups: dict[tuple[str, ...], list[StepId]] = {}
    for owner, files in owned.items():
        is_member = owner in fleet_of
        key = (fleet_of[owner], _shown_state(files), _counted(files)) if is_member else (owner,)
        groups.setdefault(key, []).append(owner)
    for (name, *_), owners in groups.items():
        if len(owners) < FEWEST:
            yield from (_row(owner, owned[owner], _counted(owned[owner])) for owner in owners)
            continue
        files = [one for owner in owners for one in owned[owner]]
        members = drawn_together([owner.name for owner in owners])
        each = _counted(owned[owners[0]])
        yield _row(f"fleet.{name}", files, f"{len(owners)} VMs ({members}), each {each}")


def _table(head: tuple[str, ...], found: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = [head, *found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _file_row(one: ArtifactStatus) -> tuple[str, ...]:
    sizes = (
        "-" if value is None else readable_size(value) for value in (one.size_bytes, one.allocated_bytes)
    )
    return _state(one), *sizes, one.path, one.base or ""


def _state(one: ArtifactStatus) -> str:
    return f"{one.state}, in use" if one.in_use else one.state


def _row(name: str, files: Sequence[ArtifactStatus], counted: str) -> tuple[str, ...]:
    """Of a VM, image, network, or of several VMs."""
    sizes = [_sum(one.size_bytes for one in files), _sum(one.allocated_bytes for one in files)]
    return _shown_state(files), *sizes, name, counted


def _shown_state(files: Sequence[ArtifactStatus]) -> str:
    return _worst(files) + (", in use" if any(one.in_use for one in files) else "")


def _worst(files: Sequence[ArtifactStatus]) -> str:
    found = {one.state for one in files}
    graver = next((state for state in GRAVITY if state in found), None)
    return graver or min(found - {CURRENT}, default=CURRENT)


def _counted(files: Sequence[ArtifactStatus]) -> str:
    """How many files, and which of them are the reason for the state, if not all."""
    worst = _worst(files)
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    at_fault = [one.path.rpartition("/")[2] for one in files if one.state == worst]
    return count if len(at_fault) == len(files) else f"{count}, {worst}: {few(at_fault)}"


def _sum(sizes: Iterable[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    return readable_size(sum(known)) if known else "-"


def _totals(owned: dict[StepId, list[ArtifactStatus]]) -> str:
    """The last line: `200 VMs, 1 image: 3 stale, 198 current; 12.3 GiB allocated`."""
    nouns = {"vm": "VM", "image": "image", "network": "network"}
    tables = Counter(owner.table for owner in owned)
    counts = (
        f"{tables[table]} {noun}{'s' * (tables[table] > 1)}" for table, noun in nouns.items() if tables[table]
    )
    states = Counter(_worst(files) for files in owned.values())
    current = states.pop(CURRENT, 0)
    said = [f"{count} {state}" for state, count in (*states.most_common(), (CURRENT, current)) if count]
    allocated = sum(one.allocated_bytes or 0 for files in owned.values() for one in files)
    if not owned:
        return "Nothing is declared, and nothing is in the store."
    return f"{', '.join(counts)}: {', '.join(said)}; {readable_size(allocated)} allocated"
