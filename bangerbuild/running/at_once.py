"""Starting a VM again before the rest of the program is loaded: the same command line, and nothing to build.

After a start that the command line came to in the usual way, what it executed is kept in the user's cache.
The next one with the same words executes the same if the up-to-date check says that there is nothing to
build, and nothing that the choice of VMM and network depended on has changed. All else, and every doubt, is
left to the command line. As with the records of that check, marshal is the format, and the file must be the
user's.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib

from bangerbuild.running import kvm
from bangerbuild.running.run_directory import RunDirectory
from bangerbuild.running.spawning import Start, spawn
from bangerbuild.uptodate import check, command, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.running.spawning import Spawned
    from bangerbuild.uptodate.command import Key
    from bangerbuild.uptodate.record import RunRecord

HEAD = b"bangerbuild boot 1 "
COMMAND = "boot"
MOST_RECORDS = 64


class Prepared:
    """What a command line came to.

    Args:
        words: the command line.
        where: the current directory.
        key: of the `apply` that belongs to it.
        basis: a checksum of that one's record, see `checksum`; with another record, this is void.
        directory: the VM's.
        start: the values of a `Start`.
        program: what stat says of the VMM's program.
        kvm_trouble: what was found of KVM; None: it was not asked for.
        paths: paths, and whether something was there.
        notes: what the user was told.
    """

    def __init__(  # noqa: PLR0913  # one for each thing that is compared or used
        self,
        *,
        words: list[str],
        where: str,
        key: Key,
        basis: int,
        directory: str,
        start: dict[str, object],
        program: list[int],
        kvm_trouble: str | None,
        paths: Mapping[str, bool],
        notes: list[str],
    ) -> None:
        self.words = words
        self.where = where
        self.key = key
        self.basis = basis
        self.directory = directory
        self.start = start
        self.program = program
        self.kvm_trouble = kvm_trouble
        self.paths = paths
        self.notes = notes


class Again:
    """A VM that was started at once, and what has to be said of it."""

    def __init__(self, spawned: Spawned, notes: list[str], warnings: list[str]) -> None:
        self.spawned = spawned
        self.notes = notes
        self.warnings = warnings


def started(words: Sequence[str]) -> Again | None:
    """Start the VM if this can be done at once; None: nothing was done."""
    if not words or words[0] != COMMAND or command.COMPLETION in os.environ:
        return None
    if None in (sys.stdin, sys.stdout, sys.stderr):  # a closed stream needs care
        return None
    try:
        prepared = _found(list(words))
        remembered = record.found(prepared.key) if prepared else None
        if prepared is None or remembered is None or checksum(remembered) != prepared.basis:
            return None
        if not check.stands(remembered) or not _stands(prepared):
            return None
        spawned = _spawned(prepared)
    except OSError:  # the command line says what is wrong
        return None
    return Again(spawned, prepared.notes, remembered.warnings) if spawned else None


def checksum(remembered: RunRecord) -> int:
    """Of a record of the up-to-date check, which lists this program too."""
    return zlib.crc32(record.dumped(remembered))


def _stands(prepared: Prepared) -> bool:
    """Whether the choices would be the same."""
    program = str(prepared.start["program"])
    return (
        check.stats([program]) == prepared.program
        and all(os.path.exists(path) == is_there for path, is_there in prepared.paths.items())
        and prepared.kvm_trouble in {None, kvm.trouble(cache=kvm.cache_path())}
    )


def _spawned(prepared: Prepared) -> Spawned | None:
    run = RunDirectory(prepared.directory)
    try:
        lock = None if run.is_new else run.lock()
        if lock is None:
            return None
        try:
            return spawn(Start(**prepared.start), run, prepared.directory, lock)  # type: ignore[arg-type]
        finally:
            os.close(lock)
    finally:
        run.close()


def _place(words: Sequence[str], where: str) -> str | None:
    """The file of a command line's record."""
    above = record.directory()
    if above is None:
        return None
    number = zlib.crc32(repr((where, list(words))).encode("utf-8", "surrogatepass"))
    return f"{os.path.dirname(above)}/{COMMAND}/{number:08x}"


def _found(words: list[str]) -> Prepared | None:
    where = os.getcwd()
    place = _place(words, where)
    if place is None:
        return None
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        data = os.read(fd, status.st_size)
    finally:
        os.close(fd)
    head, _, body = data.partition(b"\n")
    if status.st_uid != os.geteuid() or head != HEAD + b"%08x" % zlib.crc32(body):
        return None
    try:
        prepared = Prepared(**marshal.loads(body))  # noqa: S302  # see the module: as trusted as our own code
    except (EOFError, TypeError, ValueError):  # of another version
        return None
    return prepared if (prepared.words, prepared.where) == (words, where) else None


def remember(prepared: Prepared) -> None:
    """Keep what a command line came to, and remove the oldest; after an error nothing is kept."""
    place = _place(prepared.words, prepared.where)
    if place is None:
        return
    body = marshal.dumps(vars(prepared))
    draft = f"{place}.{os.getpid()}"
    try:
        directory = os.path.dirname(place)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, HEAD + b"%08x\n" % zlib.crc32(body) + body)
        finally:
            os.close(fd)
        os.replace(draft, place)
        kept = sorted(os.scandir(directory), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in kept[:-MOST_RECORDS]:
            os.unlink(entry.path)
    except OSError:
        return
