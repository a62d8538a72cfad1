"""The store's key for digests of secrets: a file of its own, made by the first run that has secrets.

Whoever has the records, and not the key, can't tell a secret from its digests. A lost key costs one update of
each file that holds a secret.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from bangerbuild.disk import durable
from bangerbuild.errors import StoreError
from bangerbuild.keyed import KEY_BYTES
from bangerbuild.store.faults import store_error

if TYPE_CHECKING:
    from pathlib import Path

NAME = ".secrets-key"


def read(store: Path) -> bytes | None:
    """The key; None if there is none, or a damaged one.

    Raises:
        StoreError: it can't be read, or something else lies there.
    """
    path = store / NAME
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise StoreError(f"'{path}' is no regular file, and was not made here")
            key = os.read(fd, KEY_BYTES + 1)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as err:
        raise store_error(err, path) from err
    return key if len(key) == KEY_BYTES else None


def new() -> bytes:
    """A key for a store that has none."""
    return os.urandom(KEY_BYTES)


def keep(store: Path, staging: Path, key: bytes) -> bytes:
    """Make this the key unless there is one; the one that holds. Two writers may do it at once.

    Args:
        store: the store's directory.
        staging: a directory of this writer's in it.
        key: a new one.

    Raises:
        StoreError: it can't be written.
    """
    found = read(store)
    if found is not None:
        return found
    path, draft = store / NAME, staging / NAME
    try:
        _write(draft, key)
        if os.path.lexists(path):  # a damaged one
            draft.rename(path)
        else:
            _link(draft, path)
        durable.sync_name(path)
    except OSError as err:
        raise store_error(err, path) from err
    return read(store) or key


def _write(draft: Path, key: bytes) -> None:
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key)
        os.fsync(fd)
    finally:
        os.close(fd)


def _link(draft: Path, path: Path) -> None:
    """Give a file its name, unless another writer was faster."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
