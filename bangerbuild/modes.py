"""Permission bits as a manifest gives them: octal, or symbolic as chmod(1) has it.

A symbolic mode is `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`, several of them joined by commas. It does what GNU
chmod does under umask 0, so that no umask plays a part: without `u`, `g`, `o` or `a` it holds for all three.
As with chmod, a directory keeps its set-id bits unless the mode names them.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

Mode: TypeAlias = int | str
"""Permission bits, or a symbolic mode that is applied to those of the host."""

ALL = 0o7777
_SET_ID = stat.S_ISUID | stat.S_ISGID
_EXECUTE = 0o111
_AFFECTED = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": ALL}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": _EXECUTE, "X": 0, "s": _SET_ID, "t": stat.S_ISVTX}
_COPIED = {"u": 6, "g": 3, "o": 0}
"""How far to the left the bits stand that `=u` and its like copy."""
_ACTION = "[-+=](?:[ugo]|[rwxXst]*)"
_CLAUSE = rf"[ugoa]*(?:{_ACTION})+"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE})*")
_OCTAL = re.compile("0?[0-7]{3,4}")


@dataclass(frozen=True)
class _ModeOperation:
    """One operation, such as `g-w`."""

    affected: int
    """The bits it may change; all of them where nobody is named."""
    operator: str
    operand: str

    @property
    def mentioned(self) -> int:
        """The bits that it names, which a directory does not keep."""
        copied = 0o7 << _COPIED[self.operand] if self.operand in _COPIED else 0
        return self.affected & (copied or _bits(self.operand))

    def applied(self, mode: int, *, is_directory: bool) -> int:
        """The mode after this operation."""
        kept = _SET_ID & ~self.mentioned if is_directory else 0
        changed = self.affected & ~kept
        value = self._value(mode, is_directory=is_directory) & changed
        if self.operator == "=":
            return mode & ~changed | value
        return mode | value if self.operator == "+" else mode & ~value

    def _value(self, mode: int, *, is_directory: bool) -> int:
        if self.operand in _COPIED:
            return (mode >> _COPIED[self.operand] & 0o7) * 0o111
        has_execute = "X" in self.operand and (is_directory or bool(mode & _EXECUTE))
        return _bits(self.operand) | (_EXECUTE if has_execute else 0)


def parsed(text: str) -> Mode | None:
    """A mode; None if the text is none."""
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    return text if _SYMBOLIC.fullmatch(text) else None


def applied(wanted: Mode | None, mode: int, *, is_directory: bool) -> int:
    """The permission bits of what has `mode` on the host; None: the same."""
    if wanted is None or isinstance(wanted, int):
        return mode if wanted is None else wanted
    for action in _actions(wanted):
        mode = action.applied(mode, is_directory=is_directory)
    return mode


@lru_cache(maxsize=64)
def _actions(symbolic: str) -> tuple[_ModeOperation, ...]:
    return tuple(
        _ModeOperation(_affected(clause), action[0], action[1:])
        for clause in symbolic.split(",")
        for action in re.findall(_ACTION, clause)
    )


def _affected(clause: str) -> int:
    who = re.match("[ugoa]*", clause)
    bits = 0
    for letter in who[0] if who else "":
        bits |= _AFFECTED[letter]
    return bits or ALL


def _bits(letters: str) -> int:
    bits = 0
    for letter in letters:
        bits |= _PERMISSIONS[letter]
    return bits
