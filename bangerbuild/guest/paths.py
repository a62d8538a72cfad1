"""Normalise guest paths, so that they can be compared."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=1 << 14)
def normal(path: str) -> str:
    """The normal form of an absolute path: `/srv/data` for `/srv//data/./`.

    `..` stays, since the component before it may be a symlink. A text that is no absolute path (`none`,
    `swap` as an fstab target) is returned unchanged.
    """
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
