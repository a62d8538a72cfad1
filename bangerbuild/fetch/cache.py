"""The user's cache: blobs by digest, shared by all manifests and by many processes at once.

    bangerbuild/
      CACHEDIR.TAG            says to programs that back up that they may pass by (bford.info/cachedir)
      blobs/sha256/HEX        whole, compared with their names; their mtime is when they were last used
      drafts/HEX              what is being written, or was cut off and can be gone on with
      urls/HEX.json           what addresses gave when they were last asked

`blobs` has the names that an OCI image layout gives them, so that one can stand on it (image-layout.md).

A file is locked itself (flock(2)), shared by who reads and alone by who writes or removes it; so nothing is
pulled away from under a reader, and a lock ends with its holder. A draft becomes a blob by rename, after its
bytes have reached the disk.
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

from bangerbuild.closing import Closing
from bangerbuild.errors import CacheError
from bangerbuild.fetch.locked_files import (
    allocated_bytes,
    digest_of,
    is_at,
    locked,
    removed_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO

DIRECTORY_NAME = "bangerbuild"
TAG = """Signature: 8a477f597d28d172789f06886806bc55
# What bangerbuild has fetched, by digest. All of it can be fetched again.
"""
USUAL_MAX_BYTES = 10 << 30
"""What a cache is bounded to where nobody says otherwise."""
_ELSEWHERE_HINT = "name a directory that is yours: export XDG_CACHE_HOME=/var/tmp/me"


@dataclass(frozen=True)
class Blob:
    """A whole file, and what its bytes are."""

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
    """What was taken out of a cache to bound it, and what is left."""

    files: int
    freed_bytes: int
    left_bytes: int


def default_path(environ: Mapping[str, str]) -> Path:
    """Where a user's cache is: below XDG_CACHE_HOME if that is an absolute path, else below ~/.cache.

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
    """A cache in a directory, which is made when something is first put there.

    What it hands out stays there until it is closed, or its process ends. Threads may share it.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"
        """One may put there what has its digest for a name, at once and whole, as skopeo does."""
        self.drafts = path / "drafts"
        self.urls = path / "urls"
        self._held: dict[str, int] = {}
        """By digest: an open file with a lock, for what was compared with its digest."""
        self._changing = threading.Lock()

    def close(self) -> None:
        """Lets go of what was handed out, which may then be removed by others."""
        with self._changing:
            while self._held:
                os.close(self._held.popitem()[1])

    def check_place(self) -> None:
        """See whether it can be made where it is not there yet.

        Raises:
            CacheError: it can't.
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
        """Whether a file of that name is there. It is not read."""
        return (self.blobs / digest).is_file()

    def get(self, digest: str) -> Blob | None:
        """The blob of this digest, compared with it; None if it is not there.

        One that has other bytes is removed and counts as not there.

        Raises:
            CacheError: it can't be read.
        """
        path = self.blobs / digest
        with _translated(path, "read"):
            if not self._still_held(path, digest) and not self._hold(path, digest):
                return None
            return Blob(digest, path, path.stat().st_size)

    def _still_held(self, path: Path, digest: str) -> bool:
        """Whether it was handed out before, and nobody has emptied the whole cache by hand meanwhile."""
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
        with contextlib.suppress(PermissionError):  # somebody else's cache, which may be read
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
        """A file to be written, with what an earlier attempt under the same key has left in it.

        Nobody else has it meanwhile: who asks for the same key waits, and should then look whether the blob
        is there. What was written stays, to be gone on with, unless it is published or discarded.

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

    def _make_directories(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (self.blobs, self.drafts, self.urls):
            directory.mkdir(parents=True, exist_ok=True)
        tag = self.path / "CACHEDIR.TAG"
        if not tag.exists():
            tag.write_text(TAG)

    def publish(self, draft: Draft, digest: str) -> Blob:
        """See Draft."""
        path, fd = self.blobs / digest, os.dup(draft.file.fileno())
        os.fsync(fd)
        draft.path.rename(path)
        fcntl.flock(fd, fcntl.LOCK_SH)
        self._keep(digest, fd)
        return Blob(digest, path, os.fstat(fd).st_size)

    def usage(self) -> Usage:
        """What it holds now.

        Raises:
            CacheError: it can't be read.
        """
        with _translated(self.path, "read"):
            sizes = [allocated_bytes(found) for _, found in self._files()]
        return Usage(len(sizes), sum(sizes))

    def surplus(self, max_bytes: int) -> tuple[Path, ...]:
        """What was not used for the longest time, and has to go for the rest to fit into so many bytes.

        Raises:
            CacheError: it can't be read.
        """
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
        """Removes the surplus, but for what somebody reads or writes at this time.

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
                    with contextlib.suppress(FileNotFoundError):  # removed or published meanwhile
                        yield path, path.lstat()


class Draft:
    """A file of the cache that is being written, by its owner alone.

    Args:
        cache: whose it is.
        path: where it is until it is published.
        file: open for reading and writing, at its start.
    """

    def __init__(self, cache: Cache, path: Path, file: FileIO) -> None:
        self.path = path
        self.file = file
        self._cache = cache

    def digest(self) -> str:
        """Of what it holds now."""
        return digest_of(self.file.fileno())

    def publish(self, digest: str) -> Blob:
        """Make it the blob of this digest, which must be its own; at any instant that is whole or not there.

        Raises:
            OSError: it could not be written to the disk.
        """
        return self._cache.publish(self, digest)

    def discard(self) -> None:
        """Leave nothing of it to a later attempt."""
        self.file.truncate(0)
        self.file.seek(0)


@contextlib.contextmanager
def _translated(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        raise CacheError(f"'{path}' of the cache can't be {what}: {reason}", hint=_ELSEWHERE_HINT) from err
