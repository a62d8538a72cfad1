"""The answer to a shell: what kind of paths it shall complete by itself, and the words that we know.

files | directories | nothing
WORD<tab>what it is
"""

from __future__ import annotations

import json
import os
import sys

from bangerbuild.completion import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

FILES, DIRECTORIES, NOTHING = "files", "directories", "nothing"
_TABLE = os.path.join(os.path.dirname(__file__), "commands.json")
_LINE_LENGTH = 70


def main(words: Sequence[str]) -> None:
    """Print the answer for the words of a command line, of which the last is to be completed."""
    try:
        paths, found = answer(list(words))
        text = "\n".join((paths, *("\t".join(filter(None, one)) for one in found)))
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except (OSError, UnicodeError):  # a shell that completes has no place for an error
        return


def answer(words: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """What kind of paths may come, and words with what each is.

    Args:
        words: the command line, the program first. A shell may have split it at `=`.
    """
    with open(_TABLE, encoding="utf-8") as file:
        table = json.load(file)
    current = words[-1]
    line = _Line(table, words[1:-1])
    if line.is_over:
        return NOTHING, []
    if current == "=" and line.before:  # bash takes it for a word
        current, line.waits_for = "", line.option_of(line.before)
    if line.waits_for is not None:
        return line.values(line.waits_for["value"], current)
    option, equals, begun = current.partition("=")
    if option.startswith("--") and equals:
        known = line.option_of(option)
        paths, found = line.values(known["value"], begun) if known else (NOTHING, [])
        return paths, [(f"{option}={word}", what) for word, what in found]
    if current.startswith("-"):
        return NOTHING, [one for one in line.options() if one[0].startswith(current)]
    if line.commands:
        return NOTHING, [one for one in line.subcommands() if one[0].startswith(current)]
    argument = line.argument()
    return line.values(argument, current) if argument else (NOTHING, [])


class _Line:
    """What the words before the current one mean.

    Args:
        table: of `commands.json`.
        words: those between the program and the current one.
    """

    def __init__(self, table: dict[str, Any], words: Sequence[str]) -> None:
        self._node = table
        self._count = 0
        self.given = names.Given()
        self.waits_for: dict[str, Any] | None = None
        """The option whose value comes next."""
        self.before = ""
        self.is_over = False
        """Whether what follows is somebody else's."""
        for word in words:
            self._take(word)

    @property
    def commands(self) -> dict[str, Any]:
        """The commands that may come next."""
        found: dict[str, Any] = self._node.get("commands", {})
        return found

    def _take(self, word: str) -> None:
        if word == "=" and self.before.startswith("--"):
            self.waits_for = self.option_of(self.before)
            return
        if self.waits_for is not None:
            self.given.note(self.before, word)
            self.waits_for = None
        elif word == "--":
            self.is_over = True
        elif word.startswith("-"):
            option, equals, value = word.partition("=")
            known = self.option_of(option)
            if equals:
                self.given.note(option, value)
            elif known and known["value"] is not None and not known.get("optional"):
                self.waits_for = known
            self.before = option
        elif self.commands:
            self._node = self.commands.get(word, {})
        else:
            self._count += 1
            if word.endswith(".toml"):
                self.given.note("--manifest", word)

    def option_of(self, name: str) -> dict[str, Any] | None:
        """An option of the command by one of its names."""
        found: Iterable[dict[str, Any]] = self._node.get("options", ())
        return next((one for one in found if name in one["names"]), None)

    def options(self) -> Iterator[tuple[str, str]]:
        """Each name of each option, with its help."""
        for one in self._node.get("options", ()):
            yield from ((name, _short(one["help"])) for name in one["names"] if name.startswith("--"))

    def subcommands(self) -> Iterator[tuple[str, str]]:
        """Each command that may come next, with its help."""
        return ((name, _short(one["help"])) for name, one in self.commands.items())

    def argument(self) -> str | list[str] | None:
        """What the next argument may be; None: no more may come."""
        arguments = self._node.get("arguments", ())
        for place, one in enumerate(arguments):
            if place == self._count or one["many"]:
                value: str | list[str] = one["value"]
                return value
        return None

    def values(self, value: str | list[str] | None, current: str) -> tuple[str, list[tuple[str, str]]]:
        """What a value may be that begins so."""
        if isinstance(value, list):
            return NOTHING, [(one, "") for one in value if one.startswith(current)]
        paths = NOTHING
        found: list[tuple[str, str]] = []
        for kind in (value or "").split():
            if kind in {FILES, DIRECTORIES}:
                paths = kind
            else:
                found += ((one, "") for one in names.beginning(kind, current, self.given))
        return paths, found


def _short(text: str) -> str:
    """The first sentence of a help text."""
    first = text.partition(". ")[0].removesuffix(".")
    return first if len(first) <= _LINE_LENGTH else f"{first[: _LINE_LENGTH - 1]}…"
