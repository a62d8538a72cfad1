"""Convert names in archives, which are bytes, to paths of a tree, and refuse those that lead out of it.

The functions raise FormatError ("leads out of the tree"); the caller adds the name of the entry.
"""

from __future__ import annotations

from bangerbuild.formats.format_error import FormatError

NAME_BYTES_MAX = 255
"""The longest name of one directory entry (ext4, and every other Linux filesystem)."""
PATH_BYTES_MAX = 4095
"""The longest path that a program can name (PATH_MAX, which counts the NUL at its end)."""
SYMLINK_BYTES_MAX = 4095


def text_of(raw: bytes) -> str:
    """A name as text: UTF-8, other bytes as surrogates, independent of the host's locale."""
    return raw.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The name that a text stands for, see `text_of`."""
    return text.encode("utf-8", "surrogateescape")


def tree_path(raw: bytes) -> str:
    """The path from the tree's top that `raw` names; empty for the top itself.

    `./`, doubled, leading and trailing slashes go, as in GNU tar: `/etc/x` is `etc/x`.

    Raises:
        FormatError: it leads out of the tree, or holds what no directory entry can.
    """
    parts = [part for part in raw.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise FormatError("leads out of the tree with '..'")
    if len(raw) > PATH_BYTES_MAX:
        raise FormatError(f"has a path longer than {PATH_BYTES_MAX} bytes")
    if len(raw) > NAME_BYTES_MAX and max(map(len, parts), default=0) > NAME_BYTES_MAX:
        raise FormatError(f"has a name longer than {NAME_BYTES_MAX} bytes")
    if b"\0" in raw:
        raise FormatError("has a NUL byte in its name")
    return text_of(b"/".join(parts))


def symlink_text(raw: bytes) -> str:
    """The text of a symlink, unchanged.

    Raises:
        FormatError: no symlink can have it.
    """
    if not 0 < len(raw) <= SYMLINK_BYTES_MAX or b"\0" in raw:
        raise FormatError(f"is a symlink whose text is not 1 to {SYMLINK_BYTES_MAX} bytes, or holds NUL")
    return text_of(raw)


def new_parents(path: str, met: set[str]) -> int:
    """Add the directories above `path` to `met`, which has the top; how many were new."""
    count = 0
    while (path := path.rpartition("/")[0]) not in met:
        met.add(path)
        count += 1
    return count
