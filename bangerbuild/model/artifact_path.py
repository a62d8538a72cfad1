"""Paths of artifacts, relative to the store, such as `vms/web/root.cow`: checked where they are read.

A store may come from somebody else, in a CI cache or on a shared disk, and what its records name is read,
replaced and removed. So a path from a record must stay in the store, and be none of the store's own files.
"""

from __future__ import annotations

import functools
import re
from typing import NewType

ArtifactPath = NewType("ArtifactPath", str)
"""A path that `artifact_path` has checked."""

TOPS = ("images", "vms")
"""The directories of a store that artifacts lie in."""
_PART = r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]+"
_PATH = re.compile(rf"(?!\.|state\.db){_PART}(?:/{_PART})*")
MOST_CHARACTERS = 1024


def artifact_path(value: object) -> ArtifactPath:
    """A path of an artifact, as it was read.

    Raises:
        ValueError: it is no text, or leads to anything but an artifact: it is absolute, or has a part that is
            empty, `.` or `..`, or a character that no name of ours has, or is one of the store's own files.
    """
    if not isinstance(value, str):
        raise ValueError(f"the path of an artifact is no text but {type(value).__name__}")  # noqa: TRY004
    return _checked(value)


@functools.lru_cache(1 << 16)
def _checked(value: str) -> ArtifactPath:
    """Each path is in several records and a stamp."""
    if len(value) > MOST_CHARACTERS or not _PATH.fullmatch(value):
        raise ValueError(f"'{value[:MOST_CHARACTERS]}' is no path of an artifact")
    return ArtifactPath(value)
