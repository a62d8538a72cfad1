"""Records of runs that left nothing to do: a file in the user's cache for each command line.

    bangerbuild current 1 CHECKSUM
    the record's fields, marshalled

A record is written to a draft and renamed, but not synced: one that a power cut left incomplete does not
match its checksum. Marshal is the format of Python's own compiled modules and must be trusted like them: so
the file must belong to the user.
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
MOST_BYTES = 1 << 30


class RunRecord:
    """What must be as it was for there to be nothing to do, and what is said then.

    Args:
        key: of the command line.
        circumstances: see `check.circumstances`.
        store: the store's directory.
        lock: the store's lock file, which is held shared by writers and alone by who removes artifacts.
        empty: the store's staging directory, in which each writer has an entry.
        followed: paths, and what stat says of each.
        beside: the directories that disks lie in, and what stat says of each.
        leftovers: ends of the names that a change leaves there if it is interrupted.
        links: paths, and what lstat says of each.
        marks: artifacts, and size, mtime and inode of each; see `check.marks`.
        kept: how many steps the plan has.
        warnings: the manifest's, which every run prints.
        machines: the VMs that can be started, see `machine.plain`, marshalled: only a start reads them.
        secrets_key: the file with the key of the digests in `variables`.
        variables: of the environment, of which secrets were made, each with a keyed digest of its value.
        notices: what a run that is not quiet prints beside them: what is no longer declared.
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
        beside: Stats,
        leftovers: list[str],
        links: Stats,
        marks: Stats,
        kept: int,
        warnings: list[str],
        machines: bytes,
        secrets_key: str,
        variables: list[tuple[str, str]],
        notices: list[str],
    ) -> None:
        self.key = key
        self.circumstances = circumstances
        self.store = store
        self.lock = lock
        self.empty = empty
        self.followed = followed
        self.beside = beside
        self.leftovers = leftovers
        self.links = links
        self.marks = marks
        self.kept = kept
        self.warnings = warnings
        self.machines = machines
        self.secrets_key = secrets_key
        self.variables = variables
        self.notices = notices


def directory() -> str | None:
    """Where records are: in the user's cache; None if the user has none."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    if named.startswith("/"):
        return f"{named}/bangerbuild/current"
    return f"{home}/.cache/bangerbuild/current" if home.startswith("/") else None


def name(key: Key) -> str:
    """The file name of a record; of two keys with one name the later record replaces the other."""
    return f"{zlib.crc32(repr(key).encode('utf-8', 'surrogatepass')):08x}"


def dumped(record: RunRecord) -> bytes:
    """The file."""
    body = marshal.dumps(vars(record))
    return HEAD + b"%08x\n" % zlib.crc32(body) + body


def loaded(data: bytes) -> RunRecord | None:
    """The record in a file; None if the file holds no complete record."""
    head, _, body = data.partition(b"\n")
    if head != HEAD + b"%08x" % zlib.crc32(body):
        return None
    try:
        return RunRecord(**marshal.loads(body))  # noqa: S302  # see the module: as trusted as our own code
    except (EOFError, TypeError, ValueError):  # of another version
        return None


def found(key: Key) -> RunRecord | None:
    """The record of a command line; None if there is none that can be trusted."""
    where = directory()
    if where is None:
        return None
    try:
        fd = os.open(f"{where}/{name(key)}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            data = os.read(fd, min(status.st_size, MOST_BYTES))
        finally:
            os.close(fd)
    except OSError:  # there is none, or something else lies there
        return None
    record = loaded(data) if status.st_uid == os.geteuid() else None
    return record if record is not None and record.key == key else None
