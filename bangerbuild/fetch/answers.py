"""What was answered when something elsewhere was asked last: a small file of texts in the cache.

A file that is damaged, or that somebody else put there, counts as missing: then it is asked again.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST_BYTES = 1 << 20


def read(path: Path) -> Mapping[str, str]:
    """The texts in a file, by their names; none if it is missing or damaged."""
    try:
        fields = json.loads(_content(path))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        return {}
    return fields


def _content(path: Path) -> bytes:
    """A regular file, at most `_MOST_BYTES` of it; a symlink is not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def write(path: Path, texts: Mapping[str, str]) -> None:
    """Replace a file; the caller holds the draft of what was asked for.

    Raises:
        OSError: it can't be written.
    """
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with draft.open("x") as file:  # which follows no symlink
        file.write(json.dumps(dict(texts)))
    draft.rename(path)
