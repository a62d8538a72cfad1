"""Sessions: several processes write to one store, and the next writer removes what killed ones left.

.staging/NAME/   what a session makes, before it is published; locked as long as the session's process runs
.locks/store     held by every session: exclusive by those that remove images, else shared
.locks/sessions  held for a moment, while a session starts or stale staging directories are removed
.locks/vm.web    held by the session that changes artifacts of that VM or image
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import threading
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import inode_flags
from bangerbuild.store import directories
from bangerbuild.store.directories import LOCKS, STAGING
from bangerbuild.store.locks import OwnerLocks, StoreLock, is_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

STORE_LOCK = "store"
FILES_PER_DIRECTORY = 64
"""How many files a session makes in one directory."""
START_SECONDS = 30
"""How long to wait, at least, for another session that starts, whatever --lock-timeout says."""


def make_staging(store: Path) -> None:
    """Make the directory for the directories of sessions, if it is missing.

    ext4 without a journal does not reuse an inode that was freed lately, and each new file searches past all
    such inodes of its block group (`recently_deleted` in fs/ext4/ialloc.c). The flag that is set here puts
    each session's directory into another block group, away from the inodes of files that were just replaced.
    """
    directory = store / STAGING
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    fd = directories.opened(directory)
    try:
        inode_flags.ask_for(fd, inode_flags.TOP_OF_TREES)
    finally:
        os.close(fd)


class _FileDirectory(threading.local):
    """The directory in which one thread makes files.

    The kernel locks a directory while a file is made in it or renamed out of it. So each thread has a
    directory of its own, and has moved on to a new one when its files are renamed.
    """

    path = Path()
    files = FILES_PER_DIRECTORY


class Session:
    """One writer of a store. Its staging directory is made when it is first needed.

    Args:
        store: the store's directory, which exists.
        timeout_seconds: how long to wait for a lock.
        exclusive: whether all other sessions are kept out.

    Raises:
        BusyError: another session did not end in time.
    """

    def __init__(self, store: Path, timeout_seconds: float, *, exclusive: bool) -> None:
        self._store = store
        self._timeout_seconds = timeout_seconds
        self._directory: Path | None = None
        self._making = threading.Lock()
        """Threads of jobs ask for the directory at the same time."""
        self._file_directory = _FileDirectory()
        self._stack = ExitStack()
        try:
            self._begin(exclusive=exclusive)
        except BaseException:
            self._stack.close()
            raise

    def _begin(self, *, exclusive: bool) -> None:
        """Open the store's own directories, which are used from now on whatever lies at their paths."""
        locks = self._store / LOCKS
        self._locks_fd = self._opened(locks)
        self.staging_fd = self._opened(self._store / STAGING)
        what = f"the store '{self._store}'"
        self._store_lock = self._stack.enter_context(
            StoreLock(
                locks / STORE_LOCK, self._timeout_seconds, what, shared=not exclusive, dir_fd=self._locks_fd
            )
        )
        self.owners = OwnerLocks(locks, self._timeout_seconds, dir_fd=self._locks_fd)
        self._stack.callback(self.owners.close)

    def _opened(self, directory: Path) -> int:
        fd = directories.opened(directory)
        self._stack.callback(os.close, fd)
        return fd

    @property
    def name(self) -> str:
        """The name of the session and of its staging directory."""
        return self.directory().name

    def directory(self) -> Path:
        """The session's staging directory, the same for all threads.

        Raises:
            OSError: it can't be made.
        """
        with self._making:
            if self._directory is None:
                self._directory = self._make_directory()
            return self._directory

    def file_directory(self) -> Path:
        """The directory, within staging, for the next file that this thread makes.

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
            self._stack.enter_context(StoreLock(directory, 0, "a new session", dir_fd=self.staging_fd))
        return directory

    def alone(self, owner: str) -> StoreLock:
        """A lock on one VM, image or network that a thread of this session holds by itself.

        Raises:
            BusyError: it was not free in time.
            OSError: it can't be opened.
        """
        path = self._store / LOCKS / owner
        return StoreLock(path, self._timeout_seconds, f"'{owner}'", dir_fd=self._locks_fd)

    def start_lock(self) -> StoreLock:
        """The lock under which sessions start and stale staging is removed.

        It is held for a moment only, so even a session with --lock-timeout 0 waits for it.

        Raises:
            BusyError: it was not free in time.
        """
        patience = max(self._timeout_seconds, START_SECONDS)
        what = f"the store '{self._store}'"
        return StoreLock(self._store / LOCKS / "sessions", patience, what, dir_fd=self._locks_fd)

    def lock_exclusively(self) -> bool:
        """Keep all other sessions out from now on; False if there are others.

        The last call of a session: after False, the session's own lock on the store may be gone.
        """
        return self._store_lock.try_exclusive()

    def sweep(self, settle_intents: Callable[[str], None]) -> None:
        """Remove stale staging directories; `settle_intents` gets the name of each session before that."""
        own = self._directory.name if self._directory else None
        if not any(name != own for name in self._in_staging()):
            return
        with self.start_lock():
            for name in self._in_staging():
                with contextlib.suppress(FileNotFoundError):  # its session has just ended and removed it
                    if name != own:
                        self._sweep_one(name, settle_intents)

    def _in_staging(self) -> list[str]:
        return os.listdir(self.staging_fd)  # noqa: PTH208  # a descriptor has no path

    def _sweep_one(self, name: str, settle_intents: Callable[[str], None]) -> None:
        mode = os.stat(name, dir_fd=self.staging_fd, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            os.unlink(name, dir_fd=self.staging_fd)
        elif is_abandoned(name, dir_fd=self.staging_fd):
            settle_intents(name)
            shutil.rmtree(name, dir_fd=self.staging_fd)

    def close(self) -> None:
        """Remove the session's directory and release its locks."""
        try:
            if self._directory is not None:
                shutil.rmtree(self._directory.name, ignore_errors=True, dir_fd=self.staging_fd)
        finally:
            self._stack.close()


def abandoned(store: Path, timeout_seconds: float) -> list[Path]:
    """Stale entries in staging, which the next session removes.

    Raises:
        BusyError: another session took too long to start.
        StoreError: a symlink lies in the place of one of the directories.
        OSError: the directory can't be read.
    """
    if not os.path.lexists(store / LOCKS) or not os.path.lexists(store / STAGING):
        return []
    with ExitStack() as stack:
        for name in (STAGING, LOCKS):
            fd = directories.opened(store / name)
            stack.callback(os.close, fd)
        stack.enter_context(_quiet(store, timeout_seconds))
        return [
            path
            for path in sorted((store / STAGING).iterdir())
            if path.is_symlink() or not path.is_dir() or is_abandoned(path)
        ]


def _quiet(store: Path, timeout_seconds: float) -> AbstractContextManager[object]:
    """Keep sessions from starting; on a read-only filesystem none can start anyway."""
    try:
        return StoreLock(store / LOCKS / "sessions", timeout_seconds, f"the store '{store}'")
    except OSError as err:
        if err.errno != errno.EROFS:
            raise
        return nullcontext()
