"""The lines of a lock file that say which address of a network a VM has been given: its leases.

    [network.lan]
    runner-001 = "172.16.0.10"

They are read line by line, not as TOML: a merge of two branches may leave one name, or one address, on two
lines, and whoever is to mend that needs both of them. Pure, but for `read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from bangerbuild.errors import Problem
from bangerbuild.host import observed, toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    Given = Mapping[str, Mapping[str, str]]
    """Addresses, by network and by the name of the VM."""

FILE_NAME = "bangerbuild.lock"
_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
_HEADER = re.compile(r"[ \t]*\[")
_NETWORK = re.compile(rf"[ \t]*\[[ \t]*network[ \t]*\.[ \t]*({_NAME})[ \t]*\][ \t]*(?:#.*)?")
_LEASE = re.compile(rf"""[ \t]*["']?({_NAME})["']?[ \t]*=[ \t]*["']([0-9.]{{7,15}})["'][ \t]*(?:#.*)?""")
_BLANK = re.compile(r"[ \t]*(?:#.*)?")
_CONFLICT = re.compile(r"(<<<<<<<|=======|>>>>>>>|\|\|\|\|\|\|\|)")


@dataclass(frozen=True)
class Lease:
    """One line."""

    network: str
    name: str
    """Of the VM."""
    address: str
    line: int
    """From 1."""

    @property
    def key(self) -> str:
        """The line's key path: `network.lan.runner-001`."""
        return f"network.{self.network}.{self.name}"


@dataclass(frozen=True)
class Leases:
    """All leases of a lock file, in its order."""

    path: Path
    lines: tuple[Lease, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What a merge or an editor has left; each of them refuses the file."""

    def by_network(self) -> dict[str, dict[str, Lease]]:
        """The leases of each network, by the name of the VM."""
        found: dict[str, dict[str, Lease]] = {}
        for lease in self.lines:
            found.setdefault(lease.network, {})[lease.name] = lease
        return found

    def given(self) -> dict[str, dict[str, str]]:
        """The same without their lines."""
        return {
            network: {name: lease.address for name, lease in held.items()}
            for network, held in self.by_network().items()
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
    return Leases(path, tuple(lines), (*problems, *_twice(lines, path)))


def without(text: str, names: Collection[str]) -> tuple[str, tuple[Lease, ...]]:
    """The text of a lock file without the leases of these VMs, and what was removed from it."""
    rows = text.splitlines(keepends=True)
    gone = [one for one in _lines(text, None) if isinstance(one, Lease) and one.name in names]
    dropped = {lease.line - 1 for lease in gone}
    left = [row for index, row in enumerate(rows) if index not in dropped]
    return "".join(_without_empty_tables(left)), tuple(gone)


def release_hint(names: Sequence[str]) -> str:
    """The command that frees the addresses of these VMs."""
    return f"bangerbuild lock --release {' --release '.join(names)}"


def _lines(text: str, path: Path | None) -> Iterator[Lease | Problem]:
    network = None
    for number, row in enumerate(text.splitlines(), start=1):
        if _HEADER.match(row):
            header = _NETWORK.fullmatch(row)
            network = header[1] if header else None
        elif network is not None and not _BLANK.fullmatch(row):
            yield _lease(network, row, number, path)


def _lease(network: str, row: str, number: int, path: Path | None) -> Lease | Problem:
    found = _LEASE.fullmatch(row)
    if found and _is_address(found[2]):
        return Lease(network, found[1], found[2], number)
    if _CONFLICT.match(row):
        message, hint = "git has left this in conflict", "keep the lines of both sides, and run it again"
    else:
        message, hint = "this is no lease", 'one looks like NAME = "172.16.0.10"; or remove the line'
    return Problem(str(path), number, f"network.{network}", message, hint)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _twice(lines: Iterable[Lease], path: Path) -> Iterator[Problem]:
    """Names, and addresses, that stand on two lines of one network."""
    names: dict[tuple[str, str], Lease] = {}
    addresses: dict[tuple[str, str], Lease] = {}
    for lease in lines:
        before = names.setdefault((lease.network, lease.name), lease)
        if before is not lease:
            message = (
                f"'{lease.name}' has '{lease.address}' here, and '{before.address}' in line {before.line}"
            )
            hint = f"remove one of the lines; or {release_hint([lease.name])}, which frees both"
            yield Problem(str(path), lease.line, lease.key, message, hint)
            continue
        other = addresses.setdefault((lease.network, lease.address), lease)
        if other is not lease:
            also = f"and to '{other.name}' in line {other.line}"
            message = f"'{lease.address}' is given to '{lease.name}' here, {also}"
            hint = f"{release_hint([lease.name])}, and the next plan gives it another one"
            yield Problem(str(path), lease.line, lease.key, message, hint)


def _without_empty_tables(rows: Sequence[str]) -> Iterator[str]:
    """The rows without headers of networks that have no lease any more."""
    for index, row in enumerate(rows):
        if _NETWORK.fullmatch(row.rstrip("\n")):
            rest = (later for later in rows[index + 1 :] if not _BLANK.fullmatch(later.rstrip("\n")))
            following = next(rest, "[")
            if _HEADER.match(following):
                continue
        yield row
