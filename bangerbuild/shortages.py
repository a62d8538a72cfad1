"""What a process may run out of on its host, told from the errors that it gets then.

The message of such an error seldom says what to do, and where it is translated the advice would be about
something else: a file that can't be opened because 1024 others are open is not damaged.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Shortage:
    """Something that ran out."""

    brief: str
    """As an error of its own, where nothing better is known."""
    hint: str
    errnos: frozenset[int]
    words: str
    """An expression for what the messages of libraries and programs have."""


_MEMORY_HINT = "allow more: ulimit -v unlimited, or the container's limit; or do less at once: -j 1"
MEMORY = Shortage(
    "there is not enough memory",
    _MEMORY_HINT,
    frozenset({errno.ENOMEM}),
    "(?i:cannot allocate memory|memory allocation failed|failed to map segment|out of memory)",
)
DESCRIPTORS = Shortage(
    "too many files are open",
    "allow more: ulimit -n 1024",
    frozenset({errno.EMFILE, errno.ENFILE}),
    "(?i:too many open files|cannot open shared object file: error 2[34])",
)
TASKS = Shortage(
    "no more processes or threads can be started",
    "allow more: ulimit -u, or the container's limit; or do less at once: -j 1",
    frozenset(),
    "can't start new thread|(?i:can't be started: resource temporarily unavailable)",
)
FILE_SIZE = Shortage(
    "a file may not become as large as it has to",
    "allow larger ones: ulimit -f unlimited; or use a filesystem that takes them: --store DIR",
    frozenset({errno.EFBIG}),
    "was ended by SIGXFSZ",
)
_ALL = (MEMORY, DESCRIPTORS, TASKS, FILE_SIZE)


def find(err: BaseException) -> Shortage | None:
    """What ran out, by an error and those that it was raised from; None if it tells of no shortage."""
    return next((found for one in _chain(err) if (found := _of(one))), None)


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    while err is not None:
        yield err
        err = err.__cause__


def _of(err: BaseException) -> Shortage | None:
    if isinstance(err, MemoryError):
        return MEMORY
    code = err.errno if isinstance(err, OSError) else getattr(err, "code", None)
    said = f"{err}\n{getattr(err, 'details', None) or ''}"
    return next((one for one in _ALL if code in one.errnos or re.search(one.words, said)), None)
