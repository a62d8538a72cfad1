"""Record the paths that a run reads on this host; the functions that read a path note it here.

Every function of a low level that reads a host file, lists a directory or looks for a program calls `note`,
`note_link` or `look` first. So new code that reads through them is noted without doing anything for it. Where
nobody records, which is the case in the threads of jobs, a call costs one look at a variable.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    StrPath = str | os.PathLike[str]

T = TypeVar("T")


class Observations(Generic[T]):
    """Paths that were looked at, each with what stat said of it before it was read for the first time.

    Args:
        kept: makes what is kept of a stat.
    """

    def __init__(self, kept: Callable[[os.stat_result], T]) -> None:
        self._kept = kept
        self.followed: dict[str, T | None] = {}
        """By paths of which symlinks are followed; None: nothing was there."""
        self.links: dict[str, T] = {}
        """By paths of which a symlink is looked at itself: the entries of directory trees."""
        self.variables: dict[str, bytes] = {}
        """Secrets that came from the environment; never written anywhere as they are."""
        self.is_complete = True
        """False once something could not be looked at: then the paths are not all there is."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what this thread looks at until the context ends; may be entered again, to go on."""
        before = _recorder.set(self)
        try:
            yield
        finally:
            _recorder.reset(before)

    def add(self, path: StrPath, found: os.stat_result | None) -> None:
        """What stat says of a path, symlinks followed; None: nothing is there."""
        if (name := os.fspath(path)) not in self.followed:
            self.followed[name] = None if found is None else self._kept(found)

    def add_link(self, path: str, found: os.stat_result) -> None:
        """What lstat says of a path."""
        if path not in self.links:
            self.links[path] = self._kept(found)


@contextmanager
def unrecorded() -> Iterator[None]:
    """Note nothing until the context ends: what is read in it can't change what is planned."""
    before = _recorder.set(None)
    try:
        yield
    finally:
        _recorder.reset(before)


_recorder: ContextVar[Observations[Any] | None] = ContextVar("recorder", default=None)


def note(path: StrPath, found: os.stat_result) -> None:
    """Note a path that is about to be read, with what stat said of it."""
    if recorder := _recorder.get():
        recorder.add(path, found)


def note_link(directory: StrPath, name: str, found: os.stat_result) -> None:
    """Note an entry of a directory, with what lstat said of it."""
    if recorder := _recorder.get():
        recorder.add_link(f"{os.fspath(directory)}/{name}", found)


def link_noter(directory: StrPath) -> Callable[[str, os.stat_result], None] | None:
    """What notes entries of a directory as `note_link` does, for many at once; None: nobody records."""
    recorder = _recorder.get()
    if recorder is None:
        return None
    prefix = f"{os.fspath(directory)}/"
    return lambda name, found: recorder.add_link(prefix + name, found)


def note_variable(name: str, value: bytes) -> None:
    """Note a variable of the environment that holds a secret."""
    if recorder := _recorder.get():
        recorder.variables[name] = value


def refuse_to_remember() -> None:
    """Note that something was looked at that no later run can compare, such as what a program prints."""
    if recorder := _recorder.get():
        recorder.is_complete = False


def look(path: StrPath) -> None:
    """Note a path that is about to be read, or to be found not to be there."""
    recorder = _recorder.get()
    if recorder is None:
        return
    try:
        recorder.add(path, os.stat(path))  # noqa: PTH116  # a string will do
    except (FileNotFoundError, NotADirectoryError):
        recorder.add(path, None)
    except OSError:
        recorder.is_complete = False
