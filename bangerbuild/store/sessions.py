"""Sessions: one writer of the store among others, and what is done about those that died.

.staging/NAME/   what a session makes, before it is published; locked while the session lives
.locks/store     shared by all who make things, exclusive for one who removes what seems to be of no use
.locks/sessions  held for a moment, while a session begins or dead ones are swept
.locks/vm.web    held by the session that changes what belongs to that VM or image
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import inode_flags
from bangerbuild.store.locks import OwnerLocks, StoreLock, is_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

STAGING = ".staging"
LOCKS = ".locks"
STORE_LOCK = "store"
FILES_PER_DIRECTORY = 64
"""How many files are made in one directory of a session."""
START_SECONDS = 30
"""How long to wait for a session that begins or sweeps, whatever --lock-timeout says."""


def make_staging(store: Path) -> None:
    """Make the directory that sessions have theirs in, if it is not there.

    ext4 without a journal gives no inode to a new file that was another's until lately, and looks at each of
    them for each new file in the same group of blocks (`recently_deleted` in fs/ext4/ialloc.c). A session
    whose directory is in a group of its own does not meet those of the files that others have replaced.
    """
    directory = store / STAGING
    if directory.is_dir():
        return
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inode_flags.ask_for(fd, inode_flags.TOP_OF_TREES)
    finally:
        os.close(fd)


class _FileDirectory(threading.local):
    """Where one thread makes files.

    The kernel locks a directory while a file is made in it or renamed out of it. So each thread has its own,
    and another one by the time that its files are renamed.
    """

    path = Path()
    files = FILES_PER_DIRECTORY


class Session:
    """One writer. Its directory is made when it first stages something.

    Args:
        store: the store's directory, which is there.
        timeout_seconds: how long to wait for a lock.
        exclusive: whether nobody else may make anything meanwhile.

    Raises:
        BusyError: somebody works in the store, and did not end in time.
    """

    def __init__(self, store: Path, timeout_seconds: float, *, exclusive: bool) -> None:
        self._store = store
        self._timeout_seconds = timeout_seconds
        self._directory: Path | None = None
        self._making = threading.Lock()
        """All jobs ask for the directory, each in its thread."""
        self._file_directory = _FileDirectory()
        self._stack = ExitStack()
        locks = store / LOCKS
        what = f"the store '{store}'"
        self._store_lock = self._stack.enter_context(
            StoreLock(locks / STORE_LOCK, timeout_seconds, what, shared=not exclusive)
        )
        self.owners = OwnerLocks(locks, timeout_seconds)
        self._stack.callback(self.owners.close)

    @property
    def name(self) -> str:
        """What the session is called; its directory has that name."""
        return self.directory().name

    def directory(self) -> Path:
        """A private directory on the store's filesystem, the same for all threads.

        Raises:
            OSError: it can't be made.
        """
        with self._making:
            if self._directory is None:
                self._directory = self._make_directory()
            return self._directory

    def file_directory(self) -> Path:
        """A directory in it for one file that this thread makes.

        Raises:
            OSError: it can't be made.
        """
        if self._file_directory.files == FILES_PER_DIRECTORY:
            self._file_directory.path, self._file_directory.files = (
                Path(tempfile.mkdtemp(dir=self.directory())),
                0,
            )
        self._file_directory.files += 1
        return self._file_directory.path

    def _make_directory(self) -> Path:
        with self.start_lock():
            directory = Path(tempfile.mkdtemp(dir=self._store / STAGING))
            self._stack.enter_context(StoreLock(directory, 0, "a new session"))
        return directory

    def start_lock(self) -> StoreLock:
        """What no two sessions do at once; it takes a moment, so that those who wait for nobody wait too.

        Raises:
            BusyError: it took far longer.
        """
        patience = max(self._timeout_seconds, START_SECONDS)
        return StoreLock(self._store / LOCKS / "sessions", patience, f"the store '{self._store}'")

    def lock_exclusively(self) -> bool:
        """Whether nobody else is at work in the store, nor will be before this session ends.

        Asked last: where somebody is, they no longer wait for this session.
        """
        return self._store_lock.try_exclusive()

    def sweep(self, settle_intents: Callable[[str], None]) -> None:
        """Remove what dead sessions left; `settle_intents` gets the name of each before its files go."""
        staging = self._store / STAGING
        if not any(path != self._directory for path in staging.iterdir()):
            return
        with self.start_lock():
            for path in list(staging.iterdir()):
                with contextlib.suppress(FileNotFoundError):  # its session has just ended by itself
                    self._sweep_one(path, settle_intents)

    def _sweep_one(self, path: Path, settle_intents: Callable[[str], None]) -> None:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif path != self._directory and is_abandoned(path):
            settle_intents(path.name)
            shutil.rmtree(path)

    def close(self) -> None:
        """Remove the session's directory and let go of its locks."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._stack.close()


def _quiet(store: Path, timeout_seconds: float) -> AbstractContextManager[object]:
    """While no session begins; none does in a store that nobody can write."""
    try:
        return StoreLock(store / LOCKS / "sessions", timeout_seconds, f"the store '{store}'")
    except OSError as err:
        if err.errno != errno.EROFS:
            raise
        return nullcontext()


def abandoned(store: Path, timeout_seconds: float) -> list[Path]:
    """What dead sessions left in staging; the next session removes it.

    Raises:
        BusyError: no other session came to an end of its beginning in time.
        OSError: it can't be looked at.
    """
    if not (store / LOCKS).is_dir() or not (store / STAGING).is_dir():
        return []
    with _quiet(store, timeout_seconds):
        return [
            path
            for path in sorted((store / STAGING).iterdir())
            if path.is_symlink() or not path.is_dir() or is_abandoned(path)
        ]
