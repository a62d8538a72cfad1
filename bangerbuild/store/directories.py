"""Directories of a store, opened step by step, so that nothing leads out of the store.

A store may come from somebody else. So its own directories, `.staging` and `.locks`, and its database are
never behind a symlink. A symlink in the place of a directory or a disk below `images` and `vms` is followed
if the user has made it: a VM's directory may lie on a larger drive. It must be the user's, and so must the
directory that it leads to. Nothing is ever removed through one.

What is removed, renamed or locked is named relative to an open directory (openat(2) and its like), so that
it does not matter who exchanges a directory for a symlink between a look and what is done then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import StoreError
from bangerbuild.host.closing import Closing
from bangerbuild.model.artifacts import TOPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    StrPath = str | os.PathLike[str]

STAGING = ".staging"
LOCKS = ".locks"
DATABASE_FILES = ("state.db", "state.db-wal", "state.db-shm", "state.db-journal")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IS_LINK = {errno.ELOOP, errno.ENOTDIR}
"""What `open` with O_NOFOLLOW and O_DIRECTORY says of a symlink, and of anything else but a directory."""


def check(store: Path) -> None:
    """Refuse a store in which something lies in the place of our own files, or symlinks of somebody else.

    Two directories are listed, and one for each image; the directories of VMs are not looked into.

    Raises:
        StoreError: it names what is there, and what to do.
        OSError: a directory can't be listed.
    """
    check_database(store)
    check_places(store)


def check_database(store: Path) -> None:
    """Refuse anything but regular files in the place of the database.

    Raises:
        StoreError: it names what is there, and what to do.
    """
    for name in DATABASE_FILES:
        _check_kind(f"{store}/{name}", stat.S_ISREG, "is no regular file")


def check_places(store: Path) -> None:
    """The same as `check`, but for the database."""
    for name in (STAGING, LOCKS):
        _check_kind(f"{store}/{name}", stat.S_ISDIR, "is no directory")
    for top in TOPS.values():
        check_link(f"{store}/{top}")
        _check_entries(f"{store}/{top}")
    for image in _entries(f"{store}/images"):
        _check_entries(image.path)


def _check_entries(directory: str) -> None:
    for entry in _entries(directory):
        if entry.is_symlink():
            check_link(entry.path)


def _check_kind(path: str, is_kind: Callable[[int], bool], what: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise _link_error(path, "which is never followed")
    if not is_kind(mode):
        raise StoreError(f"'{path}' {what}, and was not made here", hint=f"look at it, then: rm -r '{path}'")


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    if is_closed(directory):
        return
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(directory) as entries:
        yield from entries


def is_closed(directory: StrPath) -> bool:
    """Whether a directory is there in which nothing can be reached: each artifact in it says so by itself."""
    return os.path.lexists(directory) and not os.access(directory, os.X_OK)


def check_link(path: StrPath) -> None:
    """Refuse a symlink that is not the user's own; anything else, and nothing, is fine.

    Raises:
        StoreError: it is another user's, or leads to another user's directory.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(found.st_mode):
        _check_owner(path, found)


def _check_owner(path: StrPath, link: os.stat_result) -> None:
    user = os.geteuid()
    if link.st_uid != user:
        raise _link_error(path, f"and was made by another user (uid {link.st_uid})")
    with contextlib.suppress(OSError):  # it leads nowhere
        target = Path(path).stat()
        if stat.S_ISDIR(target.st_mode) and target.st_uid != user:
            raise _link_error(path, f"which belongs to another user (uid {target.st_uid})")


def _link_error(path: StrPath, why: str) -> StoreError:
    return StoreError(
        f"'{os.fspath(path)}' is a symlink to '{Path(path).readlink()}', {why}",
        hint=f"if nothing is lost with it: rm '{os.fspath(path)}'",
    )


def opened(path: StrPath, name: str = "", *, dir_fd: int | None = None) -> int:
    """A directory that is no symlink: of the store itself `path`, else `name` in an open directory.

    Raises:
        StoreError: it is a symlink, or no directory.
        OSError: it can't be opened.
    """
    try:
        return os.open(name or path, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    except OSError as err:
        if err.errno not in _IS_LINK:
            raise
        raise _no_directory(path, err) from err


def _no_directory(path: StrPath, err: OSError) -> StoreError:
    if Path(path).is_symlink():
        return _link_error(path, "which is not followed")
    return StoreError(f"'{os.fspath(path)}': {(err.strerror or str(err)).lower()}")


class OpenDirectories(Closing):
    """Directories of a store, each opened once and held open until `close` or `forget`.

    Args:
        root: the store's own directory. It may be behind a symlink, which is how the user names it.
        follow: whether symlinks of the user's own are followed below it.
        made: missing directories are made, and added here by their paths; None: they are an error.
    """

    def __init__(self, root: Path, *, follow: bool, made: set[str] | None = None) -> None:
        self._root = root
        self._follow = follow
        self.made = made
        self._open: dict[str, int] = {}
        self._top = os.open(root, _DIRECTORY)

    @override
    def close(self) -> None:
        """Close all of them."""
        self.forget()
        os.close(self._top)

    def forget(self) -> None:
        """Close all that is open but the store's own directory."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def descriptor(self, directory: str) -> int:
        """The descriptor of a directory, by its path relative to the store.

        Raises:
            StoreError: a part of the path is a symlink that is not followed.
            OSError: a part of it can't be opened or made.
        """
        if not directory:
            return self._top
        if directory not in self._open:
            above, _, name = directory.rpartition("/")
            path = f"{self._root}/{directory}"
            fd = _step(self.descriptor(above), name, path, follow=self._follow, made=self.made)
            self._open[directory] = fd
        return self._open[directory]


def _step(fd: int, name: str, path: str, *, follow: bool, made: set[str] | None) -> int:
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    except FileNotFoundError:
        if made is None:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=fd)
            made.add(path)
        return _step(fd, name, path, follow=follow, made=None)
    except OSError as err:
        if err.errno not in _IS_LINK or not Path(path).is_symlink():
            raise type(err)(err.errno, err.strerror, path) from err
        if not follow:
            raise StoreError(
                f"'{path}' is a symlink to '{Path(path).readlink()}': nothing is removed outside the store",
                hint=f"put what it leads to in its place, or remove that yourself and then '{path}'",
            ) from err
        return _own_link(fd, name, path)


def _own_link(fd: int, name: str, path: str) -> int:
    """What a symlink leads to, once it is open: what is checked is what is used."""
    _check_owner(path, os.stat(name, dir_fd=fd, follow_symlinks=False))
    found = os.open(name, _DIRECTORY, dir_fd=fd)
    if os.fstat(found).st_uid != os.geteuid():
        os.close(found)
        raise _link_error(path, "which belongs to another user")
    return found


def remove_empty(root: Path, found: Iterable[str]) -> None:
    """Remove directories that hold nothing, by their paths in the store; a symlink is no directory."""
    with OpenDirectories(root, follow=False) as parents:
        for directory in sorted(found, reverse=True):
            above, _, name = directory.rpartition("/")
            with contextlib.suppress(OSError, StoreError):  # something is left in it, or it is a symlink
                os.rmdir(name, dir_fd=parents.descriptor(above))
