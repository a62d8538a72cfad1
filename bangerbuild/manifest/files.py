"""Read manifest files and their includes; each knows the line of every key."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import Problem
from bangerbuild.host import observed
from bangerbuild.host.home import expanded
from bangerbuild.manifest.toml_lines import Key, dotted, key_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

Table = dict[str, Any]
"""A TOML table as tomllib gives it."""

_AT_LINE = re.compile(r" \(at line (\d+), (column \d+)\)$")
_AT_END = " (at end of document)"


@dataclass(eq=False)
class ManifestFile:
    """One manifest file: its text, what tomllib makes of it, and what of that the schema has refused."""

    path: Path
    """As the user named it, the including file's directory in front."""
    text: str = ""
    mtime_ns: int = 0
    tree: Table = field(default_factory=dict)
    refused: set[Key] = field(default_factory=set)
    """Key paths the schema has found fault with; they are no longer in `tree`."""
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Every name under `image` and `vm`, refused ones too."""

    @cached_property
    def lines(self) -> dict[Key, int]:
        """Scanned only when there is a problem to report: most runs have none."""
        return key_lines(self.text)

    def line(self, key: Key) -> int:
        """The line of a key path, else of the nearest table around it; 0 for the file as a whole."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)

    def is_refused_below(self, key: Key) -> bool:
        """Whether the schema has found fault with anything in that table."""
        return any(refused[: len(key)] == key for refused in self.refused)


@dataclass(frozen=True)
class Location:
    """A key path in a file."""

    document: ManifestFile
    key: Key = ()

    def __truediv__(self, part: str | int) -> Location:
        return Location(self.document, (*self.key, part))

    def __str__(self) -> str:
        """For a message about another place."""
        return f"{dotted(self.key)} ({self.document.path}:{self.document.line(self.key)})"

    def problem(self, message: str, hint: str | None = None) -> Problem:
        """A problem that stands here."""
        line = self.document.line(self.key)
        return Problem(str(self.document.path), line, dotted(self.key), message, hint)


class ManifestReader:
    """Reads manifests and what they include, each file once; collects problems instead of stopping at one."""

    def __init__(self) -> None:
        self.documents: dict[Path, ManifestFile] = {}
        """By resolved path, in the order they were first named."""
        self.problems: list[Problem] = []
        self.has_read_all = True
        """Whether every file was there and parsed; if not, a name that is unknown proves nothing."""

    def read(self, path: Path, named_at: Location | None = None, trail: Sequence[Path] = ()) -> None:
        """Reads one file and, through it, all that it includes.

        Args:
            path: the file, as the user named it.
            named_at: the `include` entry that names it; None for one from the command line.
            trail: the files that lead here by including one another.
        """
        observed.look(path)  # by every name: one that is a symlink may lead elsewhere tomorrow
        try:
            if named_at and path.resolve() in [step.resolve() for step in trail]:
                self.problems.append(_cycle(path, trail, named_at))
            elif path.resolve() not in self.documents:
                document = ManifestFile(path, *_text(path, included=named_at is not None))
                self.documents[path.resolve()] = document
                document.tree = _parsed(document.text)
                self._read_includes(document, (*trail, path))
        except OSError as err:
            self._give_up(_unreadable(path, err, named_at))
        except _NotTomlError as err:
            self._give_up(Problem(str(path), err.line, "", str(err)))

    def _give_up(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.has_read_all = False

    def _read_includes(self, document: ManifestFile, trail: Sequence[Path]) -> None:
        include = document.tree.get("include")
        for index, name in enumerate(include if isinstance(include, list) else ()):
            if isinstance(name, str) and name and "\0" not in name:  # the schema tells of any other
                place = Location(document, ("include", index))
                self.read(document.path.parent / _expanded(name), place, trail)


class _NotTomlError(Exception):
    """The text is no TOML."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _expanded(name: str) -> Path:
    try:
        return expanded(name)
    except RuntimeError:  # no such user; opening it says "no such file"
        return Path(name)


def _text(path: Path, *, included: bool) -> tuple[str, int]:
    """What a file holds, and its mtime in nanoseconds.

    A manifest that a user names may be a pipe; one that a file includes is a file.
    """
    if included and path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        mtime_ns, raw = os.fstat(file.fileno()).st_mtime_ns, file.read()
    try:
        return raw.decode("utf-8-sig"), mtime_ns  # an editor's byte order mark does no harm
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        raise _NotTomlError(f"not UTF-8: byte {raw[err.start]:#04x} on this line", line) from err


def _parsed(text: str) -> Table:
    try:
        return tomllib.loads(text)
    except RecursionError as err:
        raise _NotTomlError("not TOML that can be read: it is nested too deeply", 0) from err
    except tomllib.TOMLDecodeError as err:
        raise _NotTomlError(*_what_and_where(str(err), text)) from err
    except ValueError as err:  # Python's limit on the digits of a number
        raise _NotTomlError("not TOML that can be read: a number has too many digits", 0) from err


def _what_and_where(said: str, text: str) -> tuple[str, int]:
    """What tomllib said, with the line taken out of its words."""
    line = 0
    if found := _AT_LINE.search(said):
        line = int(found[1])
        said = f"{said[: found.start()]} at {found[2]}"
    elif said.endswith(_AT_END):
        line = text.rstrip("\n").count("\n") + 1
        said = f"{said.removesuffix(_AT_END)} at the end of the file"
    return f"not valid TOML: {said[:1].lower()}{said[1:]}", line


def _cycle(path: Path, trail: Sequence[Path], place: Location) -> Problem:
    resolved = [step.resolve() for step in trail]
    round_trip = [*trail[resolved.index(path.resolve()) :], path]
    message = "include cycle: " + " -> ".join(str(step) for step in round_trip)
    return place.problem(message, "let one of them go; a file is read once however often it is included")


def _unreadable(path: Path, err: OSError, named_at: Location | None) -> Problem:
    reason = (err.strerror or str(err)).lower()
    if named_at:
        return named_at.problem(f"can't include '{path}': {reason}")
    hint = None
    if isinstance(err, FileNotFoundError):
        hint = "write it, or name another manifest, such as: bangerbuild plan path/to/vm.toml"
    elif isinstance(err, IsADirectoryError):
        hint = f"name the file in it, such as {path / 'vm.toml'}"
    return Problem(str(path), 0, "", f"can't read the manifest: {reason}", hint)
