"""The user's cache of downloads: blobs by digest, shared by all manifests and by concurrent processes.

    bangerbuild/
      CACHEDIR.TAG            tells backup programs to skip the directory (bford.info/cachedir)
      blobs/sha256/HEX        complete files, verified against their names; mtime is the time of last use
      drafts/HEX              files being written, or interrupted downloads that can be resumed
      urls/HEX.json           what a URL gave when it was last asked

`blobs` is laid out as in an OCI image layout, so that one can be put on top of it (image-layout.md).

Each file is its own lock (flock(2)): shared for readers, exclusive for a writer or for removal. So no file is
removed while a process reads it, and the kernel releases the lock when its holder ends. A draft is synced,
then renamed to a blob.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import CacheError
from bangerbuild.fetch.locked_files import (
    allocated_bytes,
    digest_of,
    is_at,
    locked,
    removed_bytes,
)
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO

DIRECTORY_NAME = "bangerbuild"
TAG = """Signature: 8a477f597d28d172789f06886806bc55
# What bangerbuild has fetched, by digest. All of it can be fetched again.
"""
_ELSEWHERE_HINT = "name a directory that is yours: export XDG_CACHE_HOME=/var/tmp/me"


@dataclass(frozen=True)
class Blob:
    """A complete file with a known digest."""

    digest: str
    """sha256, 64 hex digits."""
    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Usage:
    """What a cache holds."""

    files: int
    allocated_bytes: int


@dataclass(frozen=True)
class Removed:
    """What `Cache.bound` removed, and what remains."""

    files: int
    freed_bytes: int
    remaining_bytes: int


def default_path(environ: Mapping[str, str]) -> Path:
    """The user's cache directory: below XDG_CACHE_HOME if that is an absolute path, else below ~/.cache.

    Raises:
        CacheError: the user has no home directory.
    """
    named = Path(environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():  # the specification says to ignore any other
        return named / DIRECTORY_NAME
    try:
        return Path(environ.get("HOME") or Path.home(), ".cache", DIRECTORY_NAME)
    except RuntimeError as err:
        raise CacheError("there is no place for a cache: no home directory", hint=_ELSEWHERE_HINT) from err


class Cache(Closing):
    """A cache in a directory, which is made when a file is first written.

    Blobs that `get` and `publish` return are locked until the cache is closed, or its process ends. Threads
    may share one cache.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"
        """Other programs, such as skopeo, may put complete blobs here, named by their digests."""
        self.drafts = path / "drafts"
        self.urls = path / "urls"
        self.layouts = path / "layouts"
        """Where skopeo finds the blobs that are there, and puts the others; see `scratch`."""
        self._held: dict[str, int] = {}
        """By digest: an open, locked file whose content was verified."""
        self._changing = threading.Lock()

    @override
    def close(self) -> None:
        """Unlock all blobs; other processes may then remove them."""
        with self._changing:
            while self._held:
                os.close(self._held.popitem()[1])

    def check_place(self) -> None:
        """Check that the directory exists or can be made.

        Raises:
            CacheError: it can't be made.
        """
        if self.path.exists():
            return
        above = next(path for path in self.path.parents if os.path.lexists(path))
        with _translated(self.path, "made"):
            if not above.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(above, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def has(self, digest: str) -> bool:
        """Whether there is a blob of this name; its content is not verified."""
        return (self.blobs / digest).is_file()

    def get(self, digest: str) -> Blob | None:
        """The blob of this digest, verified and locked; None if there is none.

        A blob with other content is removed and counts as missing.

        Raises:
            CacheError: it can't be read.
        """
        path = self.blobs / digest
        self._check_directories()
        with _translated(path, "read"):
            if not self._still_held(path, digest) and not self._hold(path, digest):
                return None
            return Blob(digest, path, path.stat().st_size)

    def _still_held(self, path: Path, digest: str) -> bool:
        """Whether the blob is locked by this cache, and is still at its path."""
        with self._changing:
            return digest in self._held and is_at(path, self._held[digest])

    def _hold(self, path: Path, digest: str) -> bool:
        try:
            fd = locked(path, fcntl.LOCK_SH, os.O_RDONLY)
        except FileNotFoundError:
            return False
        if digest_of(fd) != digest:
            path.unlink(missing_ok=True)
            os.close(fd)
            return False
        with contextlib.suppress(PermissionError):  # a cache of another user, which is only readable
            os.utime(fd)
        self._keep(digest, fd)
        return True

    def _keep(self, digest: str, fd: int) -> None:
        with self._changing:
            other = self._held.pop(digest, None)
            self._held[digest] = fd
        if other is not None:
            os.close(other)

    @contextlib.contextmanager
    def draft(self, key: str) -> Iterator[Draft]:
        """Open the draft of a key for writing; it holds what an earlier, interrupted attempt has written.

        Only one process has the draft of a key at a time. Another one waits for it, and should then look for
        the blob first. The draft stays for a later attempt unless it is published or discarded.

        Raises:
            CacheError: it can't be made.
        """
        path = self.drafts / key
        with _translated(self.path, "written"):
            self._make_directories()
            fd = locked(path, fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            try:
                yield Draft(self, path, file)
            finally:
                if is_at(path, file.fileno()) and not os.fstat(file.fileno()).st_size:
                    path.unlink()

    def prepare(self) -> None:
        """Make the directories, so that another program can put blobs there.

        Raises:
            CacheError: they can't be made.
        """
        with _translated(self.path, "written"):
            self._make_directories()

    def _make_directories(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.blobs, self.drafts, self.urls):
            self._check_directories()
            directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), (self.path / "CACHEDIR.TAG").open("x") as tag:
            tag.write(TAG)

    def _check_directories(self) -> None:
        """Refuse symlinks in the cache, which would lead out of it; the cache itself may be behind one.

        Raises:
            CacheError: there is one.
        """
        for directory in (self.blobs.parent, self.blobs, self.drafts, self.urls):
            if directory.is_symlink():
                raise CacheError(
                    f"'{directory}' of the cache is a symlink to '{directory.readlink()}', not followed",
                    hint=f"rm '{directory}': all of the cache can be fetched again",
                )

    def publish(self, draft: Draft, digest: str) -> Blob:
        """Make a draft the blob of this digest, see `Draft.publish`."""
        path, fd = self.blobs / digest, os.dup(draft.file.fileno())
        os.fsync(fd)  # a plan takes what has the name for the blob, and does not read it
        draft.path.rename(path)
        fcntl.flock(fd, fcntl.LOCK_SH)
        self._keep(digest, fd)
        return Blob(digest, path, os.fstat(fd).st_size)

    def usage(self) -> Usage:
        """How much the cache holds.

        Raises:
            CacheError: it can't be read.
        """
        with _translated(self.path, "read"):
            sizes = [allocated_bytes(found) for _, found in self._files()]
        return Usage(len(sizes), sum(sizes))

    def surplus(self, max_bytes: int) -> tuple[Path, ...]:
        """The least recently used files that must be removed so that the rest fits into `max_bytes`.

        Raises:
            CacheError: it can't be read.
        """
        self._check_directories()
        with _translated(self.path, "read"):
            files = sorted(self._files(), key=lambda file: (file[1].st_mtime_ns, file[0]))
        left = sum(allocated_bytes(found) for _, found in files)
        paths = []
        for path, found in files:
            if left <= max_bytes:
                break
            paths.append(path)
            left -= allocated_bytes(found)
        return tuple(paths)

    def bound(self, max_bytes: int) -> Removed:
        """Remove the surplus, except files that a process reads or writes now.

        Raises:
            CacheError: it can't be read or written.
        """
        removed = freed = 0
        for path in self.surplus(max_bytes):
            with _translated(path, "removed"):
                size = removed_bytes(path)
            if size is not None:
                removed, freed = removed + 1, freed + size
        return Removed(removed, freed, self.usage().allocated_bytes)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for directory in (self.blobs, self.drafts, self.urls):
            with contextlib.suppress(FileNotFoundError):
                for path in directory.iterdir():
                    with contextlib.suppress(
                        FileNotFoundError
                    ):  # another process has removed or published it
                        yield path, path.lstat()


class Draft:
    """A file of the cache that is being written, locked for this process.

    Args:
        cache: the cache that it belongs to.
        path: its path until it is published.
        file: open for reading and writing, at its start.
    """

    def __init__(self, cache: Cache, path: Path, file: FileIO) -> None:
        self.path = path
        self.file = file
        self._cache = cache

    def digest(self) -> str:
        """The SHA-256 of its present content."""
        return digest_of(self.file.fileno())

    def publish(self, digest: str) -> Blob:
        """Make it the blob of this digest, which must be its own. The blob appears complete or not at all.

        Raises:
            OSError: it could not be written to the disk.
        """
        return self._cache.publish(self, digest)

    def discard(self) -> None:
        """Empty the draft, so that a later attempt starts from the beginning."""
        self.file.truncate(0)
        self.file.seek(0)


@contextlib.contextmanager
def _translated(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        raise CacheError(f"'{path}' of the cache can't be {what}: {reason}", hint=_ELSEWHERE_HINT) from err
