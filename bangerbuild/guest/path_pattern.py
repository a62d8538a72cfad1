"""The regular expressions of file_contexts, matched in a time that has a bound.

They are PCRE2's, and an image may hold any. What `re` or PCRE2 would go through one way after the other is
followed here in all ways at once, as sets of positions. What policies never use (references, lookaround) is
not understood, and neither is what takes too many steps.
"""

from __future__ import annotations

import os
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_STEPS = 200_000
MOST_BYTES = 4096
"""libselinux takes no longer expression."""
MOST_REPEATS = 65535
_ALL = frozenset(range(256))
_DIGITS, _SPACES = frozenset(b"0123456789"), frozenset(b" \t\n\v\f\r")
_WORD = frozenset(f"{string.ascii_letters}{string.digits}_".encode())
_ESCAPES = {
    "d": _DIGITS,
    "D": _ALL - _DIGITS,
    "w": _WORD,
    "W": _ALL - _WORD,
    "s": _SPACES,
    "S": _ALL - _SPACES,
}
_CLASSES = {
    "alpha": string.ascii_letters,
    "digit": string.digits,
    "alnum": string.ascii_letters + string.digits,
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "xdigit": string.hexdigits,
    "punct": string.punctuation,
    "space": string.whitespace,
    "word": string.ascii_letters + string.digits + "_",
}


class PatternError(Exception):
    """An expression that is not understood, or takes too many steps."""


@dataclass
class _Text:
    data: bytes
    steps: int = 0

    def count(self, steps: int) -> None:
        self.steps += steps + 1
        if self.steps > MOST_STEPS:
            raise PatternError("too many steps")


_Positions = frozenset[int]


class _Node(Protocol):
    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        """Where a match can end that begins at one of these positions."""


@dataclass(frozen=True)
class _Byte(_Node):
    values: frozenset[int]

    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        text.count(len(starts))
        size, data, values = len(text.data), text.data, self.values
        return frozenset(at + 1 for at in starts if at < size and data[at] in values)

    def runs(self, text: _Text, starts: _Positions) -> _Positions:
        """Where any number of matches, one after the other, can end: the same in one pass."""
        if not starts:
            return starts
        first, size, values = min(starts), len(text.data), self.values
        text.count(size - first)
        found = set(starts)
        for at in range(first, size):
            if at in found and text.data[at] in values:
                found.add(at + 1)
        return frozenset(found)


@dataclass(frozen=True)
class _TextStart(_Node):
    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        text.count(0)
        return starts & {0}


@dataclass(frozen=True)
class _End(_Node):
    """The end, also before a line break that is the last byte."""

    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        size = len(text.data)
        text.count(0)
        return starts & ({size, size - 1} if text.data.endswith(b"\n") else {size})


@dataclass(frozen=True)
class _Sequence(_Node):
    parts: tuple[_Node, ...]

    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        for part in self.parts:
            if not starts:
                break
            starts = part.ends(text, starts)
        return starts


@dataclass(frozen=True)
class _Choice(_Node):
    branches: tuple[_Node, ...]

    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        return frozenset[int]().union(*(branch.ends(text, starts) for branch in self.branches))


@dataclass(frozen=True)
class _Repeat(_Node):
    part: _Node
    least: int
    most: int | None

    def ends(self, text: _Text, starts: _Positions) -> _Positions:
        for _ in range(self.least):
            starts = self.part.ends(text, starts)
        if isinstance(self.part, _Byte) and self.most is None:
            return self.part.runs(text, starts)
        found, new, more = starts, starts, 0
        while new and (self.most is None or more < self.most - self.least):
            new = self.part.ends(text, new) - found
            found, more = found | new, more + 1
        return found


ANYTHING = _Repeat(_Byte(_ALL), 0, None)


@dataclass
class _Parser:
    """A recursive descent; `text` is what is left, the next character last."""

    text: list[str] = field(default_factory=list)

    def take(self) -> str:
        if not self.text:
            raise PatternError("ends early")
        return self.text.pop()

    def at(self, characters: str) -> bool:
        return bool(self.text) and self.text[-1] in characters

    def skip(self, word: str) -> bool:
        """Take a word if it comes next."""
        if "".join(self.text[: -len(word) - 1 : -1]) != word:
            return False
        del self.text[-len(word) :]
        return True

    def branches(self) -> tuple[_Node, ...]:
        found = [self.sequence()]
        while self.skip("|"):
            found.append(self.sequence())
        return tuple(found)

    def sequence(self) -> _Node:
        parts: list[_Node] = []
        while self.text and not self.at("|)"):
            parts.append(self.repeated(self.atom()))
        return _Sequence(tuple(parts))

    def atom(self) -> _Node:
        character = self.take()
        known: dict[str, Callable[[], _Node]] = {
            "(": self.group,
            "[": lambda: _Byte(self.bracket()),
            ".": lambda: _Byte(_ALL),
            "\\": lambda: _Byte(self.escape()),
            "^": _TextStart,
            "$": _End,
        }
        if character in known:
            return known[character]()
        if character in "*+?":
            raise PatternError(f"'{character}' repeats nothing")
        return _Byte(frozenset((ord(character),)))

    def group(self) -> _Node:
        if self.at("?") and not self.skip("?:"):
            raise PatternError("a kind of group that is not known")
        inner = _Choice(self.branches())
        if not self.skip(")"):
            raise PatternError("a group without an end")
        return inner

    def escape(self) -> frozenset[int]:
        character = self.take()
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character.isalnum():
            raise PatternError(f"'\\{character}' is not known")
        return frozenset((ord(character),))

    def bracket(self) -> frozenset[int]:
        negated, values, first = self.skip("^"), frozenset[int](), True
        while first or not self.at("]"):
            values, first = values | self.item(), False
        self.take()
        return _ALL - values if negated else values

    def item(self) -> frozenset[int]:
        """A character, class or range in brackets."""
        for name, characters in _CLASSES.items():
            if self.skip(f"[:{name}:]"):
                return frozenset(characters.encode())
        character = self.take()
        low = self.escape() if character == "\\" else frozenset((ord(character),))
        if len(self.text) < 2 or self.text[-1] != "-" or self.text[-2] == "]":
            return low
        self.take()
        character = self.take()
        high = self.escape() if character == "\\" else frozenset((ord(character),))
        if len(low) != 1 or len(high) != 1 or min(low) > min(high):
            raise PatternError("a range that is none")
        return frozenset(range(min(low), min(high) + 1))

    def repeated(self, node: _Node) -> _Node:
        while (bounds := self.bounds()) is not None:
            node = _Repeat(node, *bounds)
            if self.at("+"):
                raise PatternError("repeats without going back")
            self.skip("?")  # which of the matches is preferred does not matter
        return node

    def bounds(self) -> tuple[int, int | None] | None:
        for word, bounds in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self.skip(word):
                return bounds
        return self.counted() if self.at("{") else None

    def counted(self) -> tuple[int, int | None] | None:
        """`{2}`, `{2,}` or `{2,3}`; what else begins with a brace stands for itself."""
        inner = "".join(reversed(self.text)).partition("}")[0]
        least, comma, most = inner[1:].partition(",")
        if not (_is_digits(least) and (not most or _is_digits(most))):
            return None
        del self.text[-len(inner) - 1 :]
        if max(int(least), int(most or 0)) > MOST_REPEATS:
            raise PatternError("too many repeats")
        return int(least), int(most) if most else None if comma else int(least)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


@dataclass(frozen=True)
class PathPattern:
    """An expression, anchored as libselinux anchors it: `^` before it and `$` behind."""

    node: _Node

    def matches(self, path: bytes) -> bool:
        """Whether a path matches.

        Raises:
            PatternError: that takes too many steps.
        """
        try:
            return bool(self.node.ends(_Text(path), frozenset((0,))))
        except RecursionError as err:
            raise PatternError("nested too deeply") from err

    def required(self, prefix: str) -> bytes:
        """The longest text that is in every path that matches, but for its fixed prefix; perhaps less."""
        start = os.fsencode(prefix)
        return max((piece.removeprefix(start) for piece in _literals(self.node)), key=len, default=b"")


def _literals(node: _Node) -> Iterator[bytes]:
    """Yield pieces of text that every match has, from what is neither optional nor one of several."""
    piece = b""
    for part in _parts(node):
        if isinstance(part, _Byte) and len(part.values) == 1 and part.values <= _ALL:
            piece += bytes(part.values)
        else:
            yield piece
            piece = b""
    yield piece


def _parts(node: _Node) -> Iterator[_Node]:
    """Yield what a match consists of, one after the other, groups without a choice opened up."""
    if isinstance(node, _Sequence):
        for part in node.parts:
            yield from _parts(part)
    elif isinstance(node, _Choice) and len(node.branches) == 1:
        yield from _parts(node.branches[0])
    else:
        yield node


def parse(text: str) -> PathPattern:
    """Parse an expression.

    Raises:
        PatternError: it is not understood.
    """
    if len(text) > MOST_BYTES:
        raise PatternError("too long")
    parser = _Parser(list(reversed(text)))
    try:
        branches = parser.branches()
    except RecursionError as err:
        raise PatternError("nested too deeply") from err
    if parser.text:
        raise PatternError("a bracket too many")
    return PathPattern(_Choice(tuple(_anchored(branches))))


def _anchored(branches: tuple[_Node, ...]) -> Iterator[_Node]:
    """Yield branches as they stand in `^a|b|c$`: only the first has the start, only the last the end."""
    last = len(branches) - 1
    for number, branch in enumerate(branches):
        start = _TextStart() if number == 0 else ANYTHING
        yield _Sequence((start, branch, _End() if number == last else ANYTHING))


def fixed_prefix(text: str) -> str:
    """What every path begins with that matches; perhaps less than that."""
    end = next((at for at, character in enumerate(text) if character in ".^$?*+[({|\\"), len(text))
    if _has_choice(text[end:]):
        return ""
    is_optional = text[end : end + 1] in {"?", "*", "{"}
    return text[: max(end - 1, 0)] if is_optional else text[:end]


def _has_choice(text: str) -> bool:
    """Whether there is a `|` outside of all groups."""
    depth, characters = 0, iter(text)
    for character in characters:
        if character == "\\":
            next(characters, None)
        depth += (character == "(") - (character == ")")
        if character == "|" and depth <= 0:
            return True
    return False
