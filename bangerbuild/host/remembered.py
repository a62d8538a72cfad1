"""What one run remembers for the next: files of plain values in the user's cache.

    HEAD CHECKSUM
    the values, marshalled

A file is written to a draft and renamed, but not synced: one that a power cut left incomplete does not
match its checksum. Marshal is the format of Python's own compiled modules and must be trusted like them: so
the file must belong to the user. Nothing is lost with one: what it says is found out again.
"""

from __future__ import annotations

import marshal
import os
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 1 << 30


def directory(name: str) -> str | None:
    """Where files of one kind are: in the user's cache; None if the user has none."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    top = named if named.startswith("/") else f"{home}/.cache" if home.startswith("/") else None
    return f"{top}/bangerbuild/{name}" if top else None


def name(key: object) -> str:
    """The file name for a key; of two keys with one name the later file replaces the other."""
    return f"{zlib.crc32(repr(key).encode('utf-8', 'surrogatepass')):08x}"


def dumped(head: bytes, values: Any) -> bytes:  # noqa: ANN401  # whatever marshal takes
    """The file with these values."""
    body = marshal.dumps(values)
    return head + b"%08x\n" % zlib.crc32(body) + body


def loaded(head: bytes, data: bytes) -> Any:  # noqa: ANN401  # whatever was written
    """The values in a file; None if it holds none that are complete."""
    first, _, body = data.partition(b"\n")
    if first != head + b"%08x" % zlib.crc32(body):
        return None
    try:
        return marshal.loads(body)  # noqa: S302  # see the module: as trusted as our own code
    except (EOFError, TypeError, ValueError):  # of another version
        return None


def read(path: str) -> bytes | None:
    """A file of the user's own; None if there is none, or it is another's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            data = os.read(fd, min(status.st_size, MOST_BYTES))
        finally:
            os.close(fd)
    except OSError:  # there is none, or something else lies there
        return None
    return data if status.st_uid == os.geteuid() else None


def keep(where: str, file_name: str, data: bytes, most: int) -> None:
    """Put a file where it is looked for, and remove the oldest ones.

    Args:
        where: the directory, which is made if it is missing.
        file_name: in it.
        data: see `dumped`.
        most: how many files stay there.

    Raises:
        OSError: it can't be written.
    """
    os.makedirs(where, mode=0o700, exist_ok=True)
    draft = f"{where}/{file_name}.{os.getpid()}"
    if os.path.lexists(draft):
        os.unlink(draft)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as new:
        new.write(data)
    os.rename(draft, f"{where}/{file_name}")
    files = sorted((f"{where}/{one}" for one in os.listdir(where)), key=_age, reverse=True)
    for file in files[most:]:
        os.unlink(file)


def _age(path: str) -> int:
    return os.lstat(path).st_mtime_ns
