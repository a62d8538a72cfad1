"""TOML files of the host, read within limits: whatever one holds, reading it ends soon.

`tomllib` takes time and memory in the square of a dotted key's parts, follows any nesting, and makes integers
of any size. So the parts of keys are counted before it sees a text, and its result is looked at afterwards.
"""

from __future__ import annotations

import ast
import errno
import os
import re
import tomllib
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES = 128 << 20
MOST_DEEP = 100
"""Of the parts of a dotted key, and of tables and arrays in one another."""
_INTEGERS = range(-(1 << 63), 1 << 63)
"""What TOML 1.0.0 has a reader take."""
_STOPS = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""(?:"{0,2})'
    r"|'''(?:[^']|'(?!''))*+'''(?:'{0,2})"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|#[^\n]*+"
    r"|[.\n,=\[\]{}]"
    r"""|["']""",  # the beginning of a text that has no end
    re.DOTALL,
)
"""What counts in counting the parts of keys; each alternative has one way to match, so a failure ends."""
_AT_LINE = re.compile(r" \(at line (\d+), (column \d+)\)$")
_KEY = re.compile(r"""\((?:(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+"),? ?)++\)""")
_AT_END = " (at end of document)"


class TomlError(ValueError):
    """A text that is no TOML, or none that is read here.

    Args:
        message: what is wrong, as a predicate without its subject.
        line: from 1; 0 if it is not known.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read(path: Path, *, may_be_pipe: bool) -> tuple[str, int]:
    """What a file holds, and its mtime in nanoseconds.

    Raises:
        OSError: it can't be read.
        TomlError: it is too large, or not UTF-8.
    """
    if not may_be_pipe and path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        mtime_ns, raw = os.fstat(file.fileno()).st_mtime_ns, file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise TomlError(f"larger than {MOST_BYTES >> 20} MiB, which is the most that is read")
    try:
        return raw.decode("utf-8-sig"), mtime_ns  # an editor's byte order mark does no harm
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        raise TomlError(f"not UTF-8: byte {raw[err.start]:#04x} on this line", line) from err


def parse(text: str) -> dict[str, Any]:
    """The tables of a text.

    Raises:
        TomlError: it is no TOML, is nested too deeply, or has an integer that TOML does not have.
    """
    _check_keys(text)
    try:
        tree = tomllib.loads(text)
    except RecursionError as err:
        raise TomlError("not TOML that can be read: it is nested too deeply") from err
    except tomllib.TOMLDecodeError as err:
        raise TomlError(*_what_and_where(str(err), text)) from err
    except ValueError as err:  # Python's limit on the digits of a number
        raise TomlError("not TOML that can be read: a number has too many digits") from err
    _check_values(tree)
    return tree


def _check_keys(text: str) -> None:
    """Refuse a dotted key of too many parts. A value has at most one dot between two of the other stops."""
    if max(map(str.count, text.split("\n"), repeat("."))) < MOST_DEEP:
        return
    dots = 0
    for stop in _STOPS.finditer(text):
        sign = stop[0]
        if sign == ".":
            dots += 1
            if dots >= MOST_DEEP:
                line = text.count("\n", 0, stop.start()) + 1
                raise TomlError(f"not TOML that can be read: a key has more than {MOST_DEEP} parts", line)
        elif len(sign) == 1 and sign in "\n,=[]{}":
            dots = 0
        elif sign in {'"', "'"}:  # tomllib comes no further either
            return


def _check_values(tree: dict[str, Any]) -> None:
    level: list[Any] = [tree]
    for _ in range(MOST_DEEP + 1):
        level = [below for one in level for below in _values(one)]
        if not level:
            return
        if any(type(one) is int and one not in _INTEGERS for one in level):
            raise TomlError("not TOML that can be read: an integer has more than 64 bits")
    raise TomlError("not TOML that can be read: it is nested too deeply")


def _values(value: object) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _dotted(found: re.Match[str]) -> str:
    """A key as a manifest has it; tomllib shows the tuple of its parts."""
    return f"'{'.'.join(ast.literal_eval(found[0]))}'"


def _what_and_where(said: str, text: str) -> tuple[str, int]:
    """What tomllib said, with the line taken out of its words."""
    line = 0
    if found := _AT_LINE.search(said):
        line = int(found[1])
        said = f"{said[: found.start()]} at {found[2]}"
    elif said.endswith(_AT_END):
        line = text.rstrip("\n").count("\n") + 1
        said = f"{said.removesuffix(_AT_END)} at the end of the file"
    said = _KEY.sub(_dotted, said)
    return f"not valid TOML: {said[:1].lower()}{said[1:]}", line
