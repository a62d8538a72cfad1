"""Records of runs that left nothing to do: two files for each command line, see `host.remembered`.

What it takes to start its VMs lies in a file beside the record, whose checksum the record has: who only asks
whether there is anything to do does not read that.
"""

from __future__ import annotations

import marshal
import zlib

from bangerbuild.host import remembered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bangerbuild.uptodate.command import Key

    Startable = tuple[str, dict[str, object], dict[str, dict[str, object]]]
    """The image, the machine, and the disks by their artifacts; see `steps.startable`."""
    Stats = tuple[list[str], list[int]]

HEAD = b"bangerbuild current 1 "
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
    """Where records are; None if the user has no cache."""
    return remembered.directory("current")


def name(key: Key) -> str:
    """The file name of a record."""
    return remembered.name(key)


def dumped(record: RunRecord) -> bytes:
    """The file."""
    return remembered.dumped(HEAD, vars(record))


def loaded(data: bytes) -> RunRecord | None:
    """The record in a file; None if the file holds no complete record."""
    fields = remembered.loaded(HEAD, data)
    try:
        return RunRecord(**fields) if isinstance(fields, dict) else None
    except TypeError:  # of another version
        return None


def found(key: Key) -> RunRecord | None:
    """The record of a command line; None if there is none that can be trusted."""
    data = _own(name(key))
    record = loaded(data) if data else None
    return record if record is not None and record.key == key else None


def startable(record: RunRecord, vm: str) -> Startable | None:
    """What it takes to start a VM, as `steps.startable` gives it; None: it can't be told."""
    data = _own(name(record.key) + BESIDE)
    if data is None or zlib.crc32(data) != record.startable:
        return None
    vms = remembered.loaded(HEAD, data)
    found = vms.get(vm) if isinstance(vms, dict) else None
    return None if found is None else tuple(marshal.loads(found))  # noqa: S302  # see `remembered`


def _own(name: str) -> bytes | None:
    """The content of a file of the user's own; None if there is none."""
    where = directory()
    return None if where is None else remembered.read(f"{where}/{name}")
