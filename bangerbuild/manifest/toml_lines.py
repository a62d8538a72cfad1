"""Finds the line of every key of a TOML text, which tomllib does not tell.

The text must be one that `host.toml` has parsed without complaint: the scanner knows TOML's shape
(https://toml.io/en/v1.0.0) and checks nothing. A key path is a tuple of table keys and array indices.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter

from bangerbuild.host import toml

Key = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]+|\\.|"(?!""))*"""(?:"{0,2})'  # up to two quotes may stand before the closing three
    r"|'''(?:[^']+|'(?!''))*'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}#\n]+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of every key path that tomllib makes of `text`, and of every array item.

    A table stands where its header is; one without a header, where it is first mentioned.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


def dotted(key: Key) -> str:
    """A key path as one would write it: `vm.web.file[0].guest`; odd names are quoted."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return text


class _Scanner:
    """One pass over a text; `pos` is the offset of what comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.lines: dict[Key, int] = {}
        self.tables_in: Counter[Key] = Counter()
        """How many tables each array of tables (`[[…]]`) has so far."""
        self.newlines = [at for at, char in enumerate(text) if char == "\n"]

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        self._skip(_BLANK)
        while self.pos < len(self.text):
            if self._at("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self) -> Key:
        start = self.pos
        brackets = 2 if self.text.startswith("[[", start) else 1
        self.pos += brackets
        self._skip(_BLANK)
        path = self._table_path(self._key(), start, is_array=brackets == 2)
        self._skip(_BLANK)
        self.pos += brackets
        return path

    def _table_path(self, parts: list[tuple[str, int]], start: int, *, is_array: bool) -> Key:
        """Where a header's key leads: through arrays of tables it means their last table so far."""
        path: Key = ()
        for part, _ in parts[:-1]:
            path = self._last_table((*path, part), start)
        path = (*path, parts[-1][0])
        if is_array:
            self.lines.setdefault(path, self._line(start))
            self.tables_in[path] += 1
            path = (*path, self.tables_in[path] - 1)
        self.lines[path] = self._line(start)
        return path

    def _last_table(self, path: Key, start: int) -> Key:
        self.lines.setdefault(path, self._line(start))
        return (*path, self.tables_in[path] - 1) if path in self.tables_in else path

    def _pair(self, table: Key) -> None:
        path = table
        for part, at in self._key():
            path = (*path, part)
            self.lines.setdefault(path, self._line(at))
        self._skip(_BLANK)
        self.pos += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> list[tuple[str, int]]:
        """The parts of a dotted key, each with its offset."""
        parts = []
        while True:
            start = self.pos
            parts.append((_plain(self._skip(_KEY_PART)), start))
            if not self._skip(_DOT):
                return parts

    def _value(self, path: Key) -> None:
        if self._at("["):
            self._array(path)
        elif self._at("{"):
            self._inline_table(path)
        elif self._at('"') or self._at("'"):
            self._skip(_STRING)
        else:
            self._skip(_BARE)

    def _array(self, path: Key) -> None:
        self._open()
        index = 0
        while not self._at("]"):
            self.lines[(*path, index)] = self._line(self.pos)
            self._value((*path, index))
            index += 1
            self._separator()
        self.pos += 1

    def _inline_table(self, path: Key) -> None:
        self._open()
        while not self._at("}"):
            self._pair(path)
            self._separator()
        self.pos += 1

    def _open(self) -> None:
        self.pos += 1
        self._skip(_BLANK)

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._at(","):
            self.pos += 1
            self._skip(_BLANK)

    def _at(self, char: str) -> bool:
        return self.text.startswith(char, self.pos)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.pos)
        if match is None:
            return ""
        self.pos = match.end()
        return match[0]

    def _line(self, offset: int) -> int:
        return bisect_right(self.newlines, offset - 1) + 1


def _plain(part: str) -> str:
    """A key part without its quotes and escapes."""
    if part[:1] == '"':
        unquoted: str = toml.parse(f"k = {part}")["k"]  # the one place that knows every escape
        return unquoted
    return part.strip("'") if part[:1] == "'" else part
