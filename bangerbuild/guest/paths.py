"""How guest paths are compared."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=1 << 14)
def normal(path: str) -> str:
    """The one spelling of an absolute path: `/srv//data/./` is `/srv/data`.

    `..` stays, since a symbolic link before it may lead anywhere. What is not absolute (`none`, `swap` as
    an fstab target) comes back as it is.
    """
    if not path.startswith("/"):
        return path
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
