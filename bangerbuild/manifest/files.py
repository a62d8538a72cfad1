"""Read manifest files and their includes; each knows the line of every key."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import Problem
from bangerbuild.host import observed, toml
from bangerbuild.host.home import expanded
from bangerbuild.manifest.toml_lines import Key, dotted, key_lines
from bangerbuild.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

Table = dict[str, Any]
"""A TOML table as tomllib gives it."""


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
    """Every name under `image`, `vm`, `network`, `fleet` and `node`, refused ones too."""
    _around_refused: set[Key] = field(default_factory=set)

    @cached_property
    def lines(self) -> dict[Key, int]:
        """Scanned only when there is a problem to report: most runs have none."""
        return key_lines(self.text)

    def line(self, key: Key) -> int:
        """The line of a key path, else of the nearest table around it; 0 for the file as a whole."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)

    def line_within(self, key: Key, number: int) -> int:
        """The line in the file of a line, from 1, of the text that a key has."""
        line = self.line(key)
        row = self.text.split("\n")[line - 1].strip() if line else ""
        opened = [quotes for quotes in ('"""', "'''") if row.count(quotes) == 1]
        if not number or not opened:
            return line
        return line + number - (0 if row.endswith(opened[0]) else 1)  # a line break after the quotes is none

    def refuse(self, key: Key) -> None:
        """Note that the schema has found fault with a key path."""
        self.refused.add(key)
        self._around_refused.update(key[:length] for length in range(len(key) + 1))

    def is_refused_below(self, key: Key) -> bool:
        """Whether the schema has found fault with anything in that table."""
        return key in self._around_refused


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

    def problem(self, message: str, hint: str | None = None, number: int = 0) -> Problem:
        """A problem that stands here, or in a line of the text that is here."""
        line = self.document.line_within(self.key, number)
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
                document = ManifestFile(path, *toml.read(path, may_be_pipe=named_at is None))
                self.documents[path.resolve()] = document
                document.tree = toml.parse(document.text)
                self._read_includes(document, (*trail, path))
        except OSError as err:
            self._give_up(_unreadable(path, err, named_at))
        except toml.TomlError as err:
            self._give_up(Problem(str(path), err.line, "", str(err), self._hint_at_json(path)))

    def _hint_at_json(self, path: Path) -> str | None:
        """What is said of a file that begins as JSON does, and no manifest can."""
        document = self.documents.get(path.resolve())
        is_json = document is not None and document.text.lstrip()[:1] == "{"
        return f"a saved plan, or other JSON: `bangerbuild apply {path}` does a plan" if is_json else None

    def _give_up(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.has_read_all = False

    def _read_includes(self, document: ManifestFile, trail: Sequence[Path]) -> None:
        include = document.tree.get("include")
        for index, name in enumerate(include if isinstance(include, list) else ()):
            if isinstance(name, str) and name and "\0" not in name:  # the schema tells of any other
                place = Location(document, ("include", index))
                self.read(document.path.parent / _expanded(name), place, trail)


def _expanded(name: str) -> Path:
    try:
        return expanded(name)
    except RuntimeError:  # no such user; opening it says "no such file"
        return Path(name)


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
        hint = _beside(path) or "write it, or name another manifest, such as path/to/vm.toml"
    elif isinstance(err, IsADirectoryError):
        hint = f"name the file in it, such as {path / 'vm.toml'}"
    return Problem(str(path), 0, "", f"can't read the manifest: {reason}", hint)


def _beside(path: Path) -> str | None:
    """The manifest in the same directory whose name is nearly the same."""
    try:
        names = [one.name for one in path.parent.iterdir() if one.suffix == ".toml"]
    except OSError:
        return None
    meant = nearest(path.name, names)
    return f"did you mean '{path.parent / meant}'?" if meant else None
