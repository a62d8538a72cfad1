"""The directory of a store: which artifacts lie there, and what they are, as the filesystem says."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from bangerbuild.disk import interrupted
from bangerbuild.errors import FilesystemError, StoreError
from bangerbuild.store import directories, moving
from bangerbuild.store.faults import store_error

NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""Errors of `stat` that mean: nothing is there."""


class StoreDirectory:
    """What lies in the directory of a store; no records are asked.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._supposed: dict[str, str] = {}
        """The names that VMs have in the directory, by those that they are shown under already."""

    def place(self, artifact: str) -> str:
        """The path at which an artifact lies: of a VM that is only supposed to be moved, that of before."""
        return f"{self.path}/{moving.artifact(artifact, self._supposed) if self._supposed else artifact}"

    def lies_there(self, name: str) -> bool:
        """Whether anything is where a VM's artifacts belong."""
        path = self.path / moving.directory(name)
        return os.path.lexists(path) and (not path.is_dir() or any(path.iterdir()))

    def exists(self, artifact: str) -> bool:
        """Whether a regular file is at the artifact's path."""
        status = self.status(artifact)
        return status is not None and stat.S_ISREG(status.st_mode)

    def may_exist(self, artifact: str) -> bool:
        """The same, but for one that can't be looked at, which counts as there."""
        try:
            return self.exists(artifact)
        except StoreError as err:
            if not isinstance(err.__cause__, OSError):
                raise
            return True

    def obstacle(self, artifact: str) -> str | None:
        """What else is at the path of a missing artifact, as text for a message; None: nothing.

        A dangling symlink is an obstacle too: it may lead to a disk on a drive that is not mounted now.
        """
        path = self.place(artifact)
        if not os.path.lexists(path):
            return None
        place = Path(path)
        if place.is_file():
            return None
        if place.is_symlink():
            leads = "which is no file" if place.exists() else "which is not there"
            return f"'{place}' is a symlink to '{place.readlink()}', {leads}"
        return f"'{place}' is {'a directory' if place.is_dir() else 'no regular file'}"

    def size(self, artifact: str) -> int | None:
        """The size of an artifact in bytes, or its size before an interrupted growth; None: it is not there.

        If the note of that growth is damaged, this is the present size; changing the disk reports the damage.
        """
        status = self.status(artifact)
        if status is None:
            return None
        try:
            return interrupted.size_before(Path(self.place(artifact))) or status.st_size
        except FilesystemError:
            return status.st_size

    def allocated(self, artifact: str) -> int | None:
        """How many bytes an artifact takes up; None: it is not there."""
        status = self.status(artifact)
        return None if status is None else status.st_blocks * 512

    def status(self, artifact: str) -> os.stat_result | None:
        """What `stat` says of an artifact; None if it is not there.

        Raises:
            StoreError: it can't be looked at, or is a symlink of somebody else.
        """
        path = self.place(artifact)
        try:
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return status
            directories.check_link(path)
            return os.stat(path)
        except OSError as err:
            if err.errno in NOWHERE:
                return None
            raise store_error(err, self.path / artifact) from err

    def may_read(self, artifact: str, status: os.stat_result) -> bool:
        """Whether this process may read an artifact, which has this `stat`."""
        is_owners = status.st_uid == os.geteuid() and bool(status.st_mode & stat.S_IRUSR)
        return is_owners or os.access(self.place(artifact), os.R_OK)

    def own_path(self, artifact: str) -> Path:
        """Where an artifact is, to be changed there.

        Raises:
            StoreError: it, or a directory on the way, is a symlink that is not the user's own.
        """
        path = self.path / artifact
        for place in (*reversed(path.parents[: artifact.count("/")]), path):
            directories.check_link(place)
        return path

    def is_half_patched(self, artifact: str) -> bool:
        """Whether a patch of a disk was interrupted."""
        return interrupted.is_half_patched(self.place(artifact))

    def is_half_grown(self, artifact: str) -> bool:
        """Whether the growth of a disk was interrupted."""
        return interrupted.is_half_grown(self.place(artifact))
