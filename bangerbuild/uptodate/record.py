"""Records of runs that left nothing to do: two files in the user's cache for each command line.

    bangerbuild current 1 CHECKSUM
    the record's fields, marshalled

What it takes to start its VMs lies beside it, in a file of the same form whose checksum the record has: who
only asks whether there is anything to do does not read that. Both are written to a draft and renamed, but not
synced: one that a power cut left incomplete does not match its checksum. Marshal is the format of Python's
own compiled modules and must be trusted like them: so the files must belong to the user.
"""

from __future__ import annotations

import marshal
import os
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bangerbuild.uptodate.command import Key

    Startable = tuple[str, dict[str, object], dict[str, dict[str, object]]]
    """The image, the machine, and the disks by their artifacts; see `steps.startable`."""
    Stats = tuple[list[str], list[int]]

HEAD = b"bangerbuild current 1 "
MOST_BYTES = 1 << 30
BESIDE = ".vms"
"""How the name of the file ends that has what it takes to start VMs."""


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
        startable: the checksum of what lies beside it, see `startable`.
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
        startable: int,
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
        self.startable = startable
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
    return whole(marshal.dumps(vars(record)))


def whole(body: bytes) -> bytes:
    """A file with this body."""
    return HEAD + b"%08x\n" % zlib.crc32(body) + body


def loaded(data: bytes) -> RunRecord | None:
    """The record in a file; None if the file holds no complete record."""
    body = _body(data)
    try:
        return RunRecord(**marshal.loads(body)) if body else None  # noqa: S302  # see the module: as trusted as our own code
    except (EOFError, TypeError, ValueError):  # of another version
        return None


def _body(data: bytes) -> bytes | None:
    head, _, body = data.partition(b"\n")
    return body if head == HEAD + b"%08x" % zlib.crc32(body) else None


def found(key: Key) -> RunRecord | None:
    """The record of a command line; None if there is none that can be trusted."""
    data = _own(name(key))
    record = loaded(data) if data else None
    return record if record is not None and record.key == key else None


def startable(record: RunRecord, vm: str) -> Startable | None:
    """What it takes to start a VM, as `steps.startable` gives it; None: it can't be told."""
    data = _own(name(record.key) + BESIDE)
    body = _body(data) if data else None
    if not body or zlib.crc32(body) != record.startable:
        return None
    found = marshal.loads(body).get(vm)  # noqa: S302  # as above
    return None if found is None else tuple(marshal.loads(found))  # noqa: S302


def _own(name: str) -> bytes | None:
    """The content of a file of the user's own; None if there is none."""
    where = directory()
    if where is None:
        return None
    try:
        fd = os.open(f"{where}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            data = os.read(fd, min(status.st_size, MOST_BYTES))
        finally:
            os.close(fd)
    except OSError:  # there is none, or something else lies there
        return None
    return data if status.st_uid == os.geteuid() else None
