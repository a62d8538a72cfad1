"""The table of an image's source, as `sources` reads it: each fault becomes a problem with its line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from typing_extensions import override

from bangerbuild.errors import SourceError, exact_size
from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.manifest.values import existing, guest_path, host_path, parse_size
from bangerbuild.model import HostPath
from bangerbuild.sources.source import SourceTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings

T = TypeVar("T")


@dataclass(frozen=True)
class TableReader(SourceTable):
    """A `SourceTable` at its place in a manifest.

    Args:
        table: its keys and values, as far as the schema took them.
        place: where it stands.
        findings: takes the problems.
        role: what the source is for: `rootfs`, `work_seed`, `kernel` or `initrd`.
        is_single: whether the table stands for one plain value at that place, as in `kernel = "vmlinuz"`.
    """

    table: Table
    place: Location
    findings: Findings
    role: str
    is_single: bool = False

    @property
    @override
    def key(self) -> str:
        return self.role

    @override
    def __contains__(self, key: str) -> bool:
        return key in self.table

    @override
    def get(self, key: str) -> Any:  # any TOML value
        return self.table.get(key)

    @override
    def sub(self, key: str) -> TableReader:
        return TableReader(self.table[key], self.place / key, self.findings, self.role)

    @override
    def file(self, key: str, written: str | None = None) -> HostPath:
        return self._host_path(key, written, "file")

    @override
    def directory(self, key: str, written: str | None = None) -> HostPath:
        return self._host_path(key, written, "directory")

    @override
    def guest_path(self, key: str) -> str | None:
        if key not in self.table:
            return None
        return self.findings.attempt(self._at(key), guest_path, self.table[key], None)

    @override
    def size(self, key: str, *, least_bytes: int | None = None, what: str = "") -> int | None:
        if key not in self.table:
            return None
        read = partial(size_from, parse_size, least_bytes, what)
        return self.findings.attempt(self._at(key), read, self.table[key], None)

    @override
    def convert(self, key: str, function: Callable[[str], T], item: int | None = None) -> T | None:
        if key not in self.table:
            return None
        value, place = self.table[key], self._at(key)
        if item is not None:
            value, place = value[item], place / item
        return self.findings.attempt(place, partial(_converted, function), value, None)

    @override
    def problem(self, key: str, message: str, hint: str | None = None) -> None:
        self.findings.add(self._at(key) if key else self.place, message, hint)

    def _at(self, key: str) -> Location:
        return self.place if self.is_single else self.place / key

    def _host_path(self, key: str, written: str | None, sort: Literal["file", "directory"]) -> HostPath:
        directory = self.place.document.path.parent
        text = self.table[key] if written is None else written
        return self.findings.attempt(
            self._at(key), partial(_existing, directory, sort), text, HostPath(directory, "")
        )


def size_from(read: Callable[[str | int], int], least_bytes: int | None, what: str, value: str | int) -> int:
    """The size of a disk that starts as a copy of `what`, and so can't be smaller.

    Raises:
        InvalidValueError: it is smaller, or no size that `read` takes.
    """
    size_bytes = read(value)
    if least_bytes and size_bytes < least_bytes:
        raise InvalidValueError(
            f"size is {quoted(value)}, smaller than {what}: {exact_size(least_bytes)}",
            "make it larger, or leave out `size`",
        )
    return size_bytes


def _existing(directory: Path, sort: Literal["file", "directory"], text: str) -> HostPath:
    return existing(host_path(text, directory), sort)


def _converted(function: Callable[[str], T], text: str) -> T:
    try:
        return function(text)
    except SourceError as err:
        raise InvalidValueError(err.brief, err.hint) from err
