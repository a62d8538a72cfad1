"""The SELinux label of a path, as a policy's file_contexts give it; see selabel_file(5).

    REGEX [TYPE] CONTEXT        TYPE: -- file, -d directory, -l symlink, -p FIFO, -s socket, -b and -c devices

Of the lines without metacharacters the last that is the path counts, else the last of the others that
matches. `<<none>>` means no label. `.subs` and `.subs_dist` say which path another one stands for.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.guest import path_pattern
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NO_LABEL = "<<none>>"
_TYPES = {
    "--": EntryType.FILE,
    "-d": EntryType.DIRECTORY,
    "-l": EntryType.SYMLINK,
    "-p": EntryType.FIFO,
    "-s": EntryType.SOCKET,
    "-b": EntryType.BLOCK_DEVICE,
    "-c": EntryType.CHARACTER_DEVICE,
}
_META = frozenset(".^$?*+|[({])}")
_ESCAPED = re.compile(r"\\[-.^$?*+|\[({\])}_,]")


@dataclass(frozen=True)
class _Spec:
    text: str
    type: EntryType | None
    label: str

    def is_for(self, kind: EntryType) -> bool:
        return self.type is None or self.type is kind


class FileContexts:
    """The labels of one policy.

    Args:
        specs: what `file_contexts`, its `.homedirs` and its `.local` hold, in this order.
        subs: what `.subs` holds.
        subs_dist: what `.subs_dist` holds.
    """

    def __init__(self, specs: Iterable[str], subs: str = "", subs_dist: str = "") -> None:
        self._exact: dict[str, list[_Spec]] = {}
        self._patterns: list[tuple[str, _Spec]] = []
        self._substitutions = tuple(tuple(_substitutions(text)) for text in (subs, subs_dist))
        for spec in (spec for text in specs for spec in _specs(text)):
            exact = _unescaped(spec.text)
            if exact is None:
                self._patterns.append((path_pattern.fixed_prefix(spec.text), spec))
            else:
                self._exact.setdefault(exact, []).append(spec)
        self._patterns.reverse()
        self._below = functools.lru_cache(maxsize=64)(self._compatible)
        self._in = functools.lru_cache(maxsize=64)(self._candidates)
        self.label = functools.cache(self._label)

    def _label(self, path: str, kind: EntryType) -> str | None:
        """The label of a path without symlinks; None: it shall have none, or that can't be told."""
        path = self._substituted(re.sub("/+", "/", path).rstrip("/") or "/")
        for spec in reversed(self._exact.get(path, ())):
            if spec.is_for(kind):
                return _given(spec)
        data = os.fsencode(path)
        try:
            found = next((spec for spec in self._likely(path, data, kind) if _matches(spec, data)), None)
        except path_pattern.PatternError:
            return None
        return _given(found) if found else None

    def _likely(self, path: str, data: bytes, kind: EntryType) -> Iterator[_Spec]:
        """Yield the patterns that may match, in their order, without the cost of a match for most others."""
        for prefix, required, spec in self._in(path[: path.rfind("/") + 1]):
            if required in data and path.startswith(prefix) and spec.is_for(kind):
                yield spec

    def _candidates(self, directory: str) -> tuple[tuple[str, bytes, _Spec], ...]:
        """The patterns that may match something in a directory, whose files come one after the other."""
        top = directory[: directory.find("/", 1) + 1] or "/"
        return tuple(
            (prefix, _required(spec.text, prefix), spec)
            for prefix, spec in self._below(top)
            if _is_compatible(prefix, directory)
        )

    def _compatible(self, top: str) -> tuple[tuple[str, _Spec], ...]:
        return tuple((prefix, spec) for prefix, spec in self._patterns if _is_compatible(prefix, top))

    def _substituted(self, path: str) -> str:
        for table in self._substitutions:
            path = next(filter(None, (_replaced(path, *line) for line in table)), path)
        return path


_pattern = functools.lru_cache(maxsize=10000)(path_pattern.parse)


def _matches(spec: _Spec, path: bytes) -> bool:
    return _pattern(spec.text).matches(path)


@functools.lru_cache(maxsize=10000)
def _required(text: str, prefix: str) -> bytes:
    """Text that a path must have to match; none of a pattern that is not understood, which is told then."""
    try:
        return _pattern(text).required(prefix)
    except (path_pattern.PatternError, RecursionError):
        return b""


def _is_compatible(prefix: str, directory: str) -> bool:
    """Whether a path that begins with `prefix` may be in or below a directory, which ends with a slash."""
    return directory.startswith(prefix) or prefix.startswith(directory)


def _given(spec: _Spec) -> str | None:
    return None if spec.label == NO_LABEL else spec.label


def _replaced(path: str, source: str, target: str) -> str | None:
    if path != source and not path.startswith(f"{source}/"):
        return None
    rest = path[len(source) :]
    return target + (rest[1:] if target == "/" else rest)


def _specs(text: str) -> Iterator[_Spec]:
    """Yield the lines that can be read; libselinux would refuse the whole file for another one."""
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) == 2:
            yield _Spec(fields[0], None, fields[1])
        elif len(fields) > 2 and fields[1] in _TYPES:
            yield _Spec(fields[0], _TYPES[fields[1]], fields[2])


def _substitutions(text: str) -> Iterator[tuple[str, str]]:
    """Yield source and target, the last line first."""
    for line in reversed(text.splitlines()):
        fields = line.split()
        if len(fields) > 1 and not fields[0].startswith("#"):
            yield fields[0], fields[1]


def _unescaped(text: str) -> str | None:
    """The one path that an expression stands for; None: it has metacharacters."""
    plain = _ESCAPED.sub("", text)
    if "\\" in plain or not _META.isdisjoint(plain):
        return None
    return _ESCAPED.sub(lambda found: found[0][1], text)
