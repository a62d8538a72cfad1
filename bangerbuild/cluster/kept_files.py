"""Where a node keeps the objects that it was sent: beside the user's cache of downloads.

    objects/KEY/top     a file or directory, as it was listed; never changed once it is there
    blobs/DIGEST        a content, of which objects are made; it shares the inode of one of them
    drafts/RUN-PID/     what is not whole yet
    lock                held while an object is made: workers of one user share all of this

What arrives is compared with its digest before it is kept. What was not used for 30 days is removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import NOTHING_LOCAL, DocumentError
from bangerbuild.cluster.host_files import ObjectEntry  # noqa: TC001  # `documents` reads the annotations
from bangerbuild.errors import SourceError
from bangerbuild.fetch.cache import default_path
from bangerbuild.tree import TYPE_BITS, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_LISTING_BYTES = 1 << 30
UNUSED_SECONDS = 30 * 24 * 3600
"""What was not used for so long is removed."""
_DIGEST = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[0-9a-z-]{1,64}")
_BUFFER_BYTES = 1 << 20


class KeptFiles:
    """The objects of this node.

    Args:
        directory: where they are; made when something is first kept. None: the user's.
        run: names the run that sends something.
    """

    def __init__(self, run: str, directory: Path | None = None) -> None:
        if not _NAME.fullmatch(run):
            raise DocumentError("a message names no run")
        self._directory = directory or default_path(os.environ).with_name("bangerbuild-cluster")
        self._drafts = self._directory / "drafts" / f"{run}-{os.getpid()}"  # workers may share a cache

    def path_of(self, key: str) -> Path:
        """Where the file or directory of an object is.

        Raises:
            DocumentError: there is no such object.
        """
        path = self._object(key) / "top"
        if not os.path.lexists(path):
            raise DocumentError(f"this node lacks the object '{key}'", hint="run it again")
        return path

    def lacking(self, keys: Iterable[str]) -> list[str]:
        """The keys of objects that are not here; those that are count as used now."""
        lacking = []
        for key in keys:
            if os.path.lexists(self._object(key) / "top"):
                with contextlib.suppress(OSError):
                    os.utime(self._object(key))
            else:
                lacking.append(key)
        return lacking

    def offer(self, message: bytes) -> list[str]:
        """Make the object of a listing; the digests of contents that have to be sent before, if any.

        Raises:
            DocumentError: it is no listing.
            SourceError: it can't be made here.
        """
        document = documents.parsed(message, MOST_LISTING_BYTES)
        listed = documents.decoded(_Listing, document, NOTHING_LOCAL, "listing")
        _check_all(listed.entries)
        lacking = {one.digest for one in listed.entries if one.digest and not self._blob(one.digest).exists()}
        if not lacking:
            key = hashlib.sha256(json.dumps(document["entries"], sort_keys=True).encode()).hexdigest()
            with _told(), self._alone():
                self._make(key, listed.entries)
        return sorted(lacking)

    def take(self, digest: str, offset: int, data: bytes, *, size_bytes: int, is_last: bool) -> None:
        """A piece of a content; what lies between pieces is zeros.

        Raises:
            DocumentError: the content is whole, and not what it should be.
            SourceError: it can't be kept.
        """
        draft = self._drafts / _checked(digest)
        with _told():
            self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("r+b" if draft.exists() else "xb") as file:
                os.pwrite(file.fileno(), data, offset)
                if is_last:
                    file.truncate(size_bytes)
            if is_last:
                self._settle(draft, digest)

    def _settle(self, draft: Path, digest: str) -> None:
        with draft.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            draft.unlink()
            raise DocumentError(f"what was sent is not '{digest}'", hint="run it again")
        blob = self._blob(digest)
        blob.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.rename(blob)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from giving a blob its name in an object, and its times, at the same moment."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make(self, key: str, entries: Sequence[ObjectEntry]) -> None:
        draft = self._drafts / key
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        top = draft / "top"
        for entry in entries:
            self._make_entry(top, entry)
        for entry in reversed(entries):  # a directory's times last: each entry in it changes them
            if entry.type == EntryType.DIRECTORY.value:
                place = top / entry.path
                place.chmod(entry.mode)
                os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns))
        target = self._object(key)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            draft.rename(target)
        except OSError as err:
            if err.errno not in {errno.EEXIST, errno.ENOTEMPTY}:  # another run has made it meanwhile
                raise

    def _make_entry(self, top: Path, entry: ObjectEntry) -> None:
        place = top / entry.path if entry.path else top
        type_ = EntryType(entry.type)
        match type_:
            case EntryType.DIRECTORY:
                place.mkdir(mode=0o700)
            case EntryType.SYMLINK:
                place.symlink_to(entry.target)
            case EntryType.HARD_LINK:
                os.link(top / entry.target, place, follow_symlinks=False)
                return
            case EntryType.FILE:
                self._place_content(place, entry.digest)
            case _:
                os.mknod(place, TYPE_BITS[type_] | 0o600, os.makedev(*entry.device))
        if entry.owner is not None and entry.owner != _owner_of(place):
            os.chown(place, *entry.owner, follow_symlinks=False)
        for name, value in entry.xattrs.items():
            os.setxattr(place, name, bytes.fromhex(value), follow_symlinks=False)
        if type_ is not EntryType.SYMLINK and type_ is not EntryType.DIRECTORY:
            place.chmod(entry.mode)
        os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    def _place_content(self, place: Path, digest: str) -> None:
        """Give a content this name: the blob itself if nothing else has it, else a copy."""
        blob = self._blob(digest)
        if blob.stat().st_nlink == 1:
            os.link(blob, place)
            return
        with blob.open("rb") as source, place.open("xb") as target:
            left = os.fstat(source.fileno()).st_size
            while left and (count := os.copy_file_range(source.fileno(), target.fileno(), left)):
                left -= count

    def clean(self) -> None:
        """Remove the drafts of this run, and what was not used for long."""
        _remove(self._drafts)
        oldest = time.time() - UNUSED_SECONDS
        for name in ("drafts", "objects"):
            for one in _entries(self._directory / name):
                if one.lstat().st_mtime < oldest:
                    _remove(one)
        for blob in _entries(self._directory / "blobs"):
            found = blob.lstat()
            if found.st_nlink == 1 and found.st_ctime < oldest:
                blob.unlink(missing_ok=True)

    def _object(self, key: str) -> Path:
        return self._directory / "objects" / _checked(key)

    def _blob(self, digest: str) -> Path:
        return self._directory / "blobs" / _checked(digest)


@dataclass(frozen=True)
class _Listing:
    entries: tuple[ObjectEntry, ...]


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise DocumentError("a message has a digest that is none")
    return digest


def _check_all(entries: Sequence[ObjectEntry]) -> None:
    """Refuse a listing with an entry below what is no directory of it: a symlink may lead anywhere."""
    directories = {PurePosixPath()}
    for number, entry in enumerate(entries):
        _check(entry)
        path = PurePosixPath(entry.path)
        if (path != PurePosixPath() and path.parent not in directories) or (number == 0) != (not path.parts):
            raise DocumentError(f"a listing has the entry '{entry.path}' in no directory")
        if entry.type == EntryType.DIRECTORY.value:
            directories.add(path)
        elif not path.parts:
            directories.clear()


def _check(entry: ObjectEntry) -> None:
    """Refuse an entry that would land elsewhere, or that no walk gives."""
    types = {one.value for one in EntryType} - {EntryType.SOCKET.value}
    paths = [entry.path, *([entry.target] if entry.type == EntryType.HARD_LINK.value else ())]
    if entry.type not in types or not 0 <= entry.mode <= 0o7777 or not all(map(_is_inside, paths)):
        raise DocumentError(f"a listing has the entry '{entry.path}', which can't be")
    if entry.digest:
        _checked(entry.digest)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return "\0" not in path and not path.startswith("/") and ".." not in parts


def _owner_of(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def _entries(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from directory.iterdir()


def _remove(path: Path) -> None:
    """Remove a tree, directories that can't be written among it."""
    for above, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            Path(above).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except PermissionError as err:
        hint = "owners are kept only where the worker runs as root: have it run so, or make a tarball"
        raise SourceError(f"'{err.filename}' can't be made as it was sent", hint=hint) from err
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        hint = "make room on this node, in ~/.cache"
        raise SourceError(f"what was sent can't be kept: {reason}", hint=hint) from err
