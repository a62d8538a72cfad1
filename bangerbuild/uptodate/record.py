"""Records of runs that left nothing to do: one for each command line, see `host.remembered`."""

from __future__ import annotations

from bangerbuild.host import remembered

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
    where = directory()
    data = None if where is None else remembered.read(f"{where}/{name(key)}")
    record = None if data is None else loaded(data)
    return record if record is not None and record.key == key else None
