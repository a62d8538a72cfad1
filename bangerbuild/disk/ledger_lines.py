"""Lines that say what was written into a guest, one for each guest path, and whether it is still there.

file MODE UID:GID SIZE SHA256
file MODE UID:GID SIZE SALT:SHA256      of a secret: the digest of its salt and the content
file MODE UID:GID SIZE SHA256 XATTRS    with the digest of its extended attributes, if it was given any
symlink UID:GID TARGET
directory MODE UID:GID          made so, whether it was there or not
directory                       was there, and keeps what it had
new directory MODE UID:GID      made so by a file_sync; without these words by an older version
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import EntryType, salted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.opened import OpenedDisk

PLAIN_DIRECTORY = "directory"
NEW_DIRECTORY = "new directory"
_SECRET = re.compile(r"file [0-7]+ \d+:\d+ \d+ ([0-9a-f]{64}):[0-9a-f]{64}", re.ASCII)
_WORDS_WITH_XATTRS = 6


def xattrs(disk: OpenedDisk, path: str) -> dict[str, bytes] | None:
    """The extended attributes of a file that may have come from the host; None: they are damaged."""
    from bangerbuild.formats.hostentry import taken_xattrs  # few files have any

    try:
        return taken_xattrs(disk.get_xattrs(path, follow=False))
    except FilesystemError:
        return None


def xattrs_digest(xattrs: Mapping[str, bytes]) -> str:
    """The sixth word of the line of a file that has such."""
    listed = str(sorted((name, value.hex()) for name, value in xattrs.items()))
    return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()


def is_secret(line: str) -> bool:
    """Whether it is the line of a file that holds a secret."""
    return bool(_salt(line))


def _salt(line: str) -> str:
    """The salt in the line of a secret; of any other line nothing."""
    found = _SECRET.fullmatch(line)
    return found[1] if found else ""


def is_directory(line: str) -> bool:
    """Whether it is the line of a directory."""
    return line.startswith((NEW_DIRECTORY, PLAIN_DIRECTORY))


def new_directory(mode: int, uid: int, gid: int) -> str:
    """The line of a directory that a file_sync made."""
    return f"{NEW_DIRECTORY} {mode:04o} {uid}:{gid}"


def is_new_directory(line: str) -> bool:
    """Whether it is the line of such a directory."""
    return line.startswith(NEW_DIRECTORY)


def is_there(disk: OpenedDisk, path: str, line: str) -> bool:
    """Whether the guest still has what was written."""
    try:
        if is_new_directory(line):  # the guest may give it another mode and owner
            line = PLAIN_DIRECTORY
        return _line(disk, path, line) == line
    except GuestPathError:  # a parent leads elsewhere now
        return False


def _line(disk: OpenedDisk, path: str, expected: str) -> str | None:
    """What is there, in as many words as are expected; a file is read only if the rest is the same."""
    found = disk.stat(path, follow=expected.startswith(PLAIN_DIRECTORY))
    if found is None or found.type is EntryType.FILE:
        return None if found is None else _file_line(disk, path, found, expected)
    owner = f"{found.uid}:{found.gid}"
    if found.type is EntryType.DIRECTORY:
        return (
            PLAIN_DIRECTORY if expected == PLAIN_DIRECTORY else f"{PLAIN_DIRECTORY} {found.mode:04o} {owner}"
        )
    if found.type is EntryType.SYMLINK:
        return f"symlink {owner} {found.target}"
    return str(found.type.value)


def _file_line(disk: OpenedDisk, path: str, found: Stat, expected: str) -> str:
    start = f"file {found.mode:04o} {found.uid}:{found.gid} {found.size_bytes} "
    if not expected.startswith(start):
        return start
    salt = _salt(expected)
    line = f"{start}{salt}:{_digest(disk, path, salt)}" if salt else start + _digest(disk, path, salt)
    if len(expected.split()) < _WORDS_WITH_XATTRS:
        return line
    found_xattrs = xattrs(disk, path)
    return line if found_xattrs is None else f"{line} {xattrs_digest(found_xattrs)}"


def _digest(disk: OpenedDisk, path: str, salt: str) -> str:
    hasher = salted(salt)
    for piece in disk.read_chunks(path) or ():
        hasher.update(piece)
    return hasher.hexdigest()


def differing(disk: OpenedDisk, lines: Mapping[str, str]) -> Iterator[str]:
    """The paths at which the guest has something else now, in their order."""
    return (path for path in sorted(lines) if not is_there(disk, path, lines[path]))
