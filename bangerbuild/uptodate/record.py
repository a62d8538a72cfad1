"""What an earlier run stood on, as a file in the user's cache: one for each command line.

    bangerbuild current 1 CHECKSUM
    the record's fields, marshalled

It is written whole and renamed into place, but not synced: one that a power cut tears does not fit its
checksum. Marshal is what Python keeps its own modules in, and is trusted as these are: the file must be the
user's own.
"""

from __future__ import annotations

import marshal
import os
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bangerbuild.uptodate.command import Key

    Stats = tuple[list[str], list[int]]

HEAD = b"bangerbuild current 1 "


class RunRecord:
    """What must be as it was for there to be nothing to do, and what is said then.

    Args:
        key: of the command line.
        circumstances: see `check.circumstances`.
        store: the store's directory.
        lock: a file that everybody who makes things in the store has locked, and nobody who removes some.
        empty: a directory where somebody who makes things has an entry.
        followed: paths, and what stat says of each.
        links: paths, and what lstat says of each.
        marks: names in the store, and what tells that one was changed; see `check.marks`.
        kept: how many steps there are.
        warnings: what is said of the manifest each time.
    """

    def __init__(  # noqa: PLR0913  # one for each thing that is compared, and what is said
        self,
        *,
        key: Key,
        circumstances: list[str],
        store: str,
        lock: str,
        empty: str,
        followed: Stats,
        links: Stats,
        marks: Stats,
        kept: int,
        warnings: list[str],
    ) -> None:
        self.key = key
        self.circumstances = circumstances
        self.store = store
        self.lock = lock
        self.empty = empty
        self.followed = followed
        self.links = links
        self.marks = marks
        self.kept = kept
        self.warnings = warnings


def directory() -> str | None:
    """Where records are: in the user's cache; None if there is no place for it."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    if named.startswith("/"):
        return f"{named}/bangerbuild/current"
    return f"{home}/.cache/bangerbuild/current" if home.startswith("/") else None


def name(key: Key) -> str:
    """What the file is called; two keys may share a name, and then take turns."""
    return f"{zlib.crc32(repr(key).encode('utf-8', 'surrogatepass')):08x}"


def dumped(record: RunRecord) -> bytes:
    """The file."""
    body = marshal.dumps(vars(record))
    return HEAD + b"%08x\n" % zlib.crc32(body) + body


def loaded(data: bytes) -> RunRecord | None:
    """The record in a file; None if it is none, or was not written whole."""
    head, _, body = data.partition(b"\n")
    if head != HEAD + b"%08x" % zlib.crc32(body):
        return None
    try:
        return RunRecord(**marshal.loads(body))  # noqa: S302  # see the module: as trusted as our own code
    except (EOFError, TypeError, ValueError):  # of another version
        return None


def found(key: Key) -> RunRecord | None:
    """What is remembered for a command line."""
    where = directory()
    if where is None:
        return None
    try:
        fd = os.open(f"{where}/{name(key)}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            data = os.read(fd, status.st_size)
        finally:
            os.close(fd)
    except OSError:  # there is none, or something else lies there
        return None
    record = loaded(data) if status.st_uid == os.geteuid() else None
    return record if record is not None and record.key == key else None
