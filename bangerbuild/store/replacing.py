"""Taking the name of a disk away, so that no VM that starts at that instant writes into a file without one.

Between the last look at a disk and the rename that takes its place, or that removes it, a VM may open it.
What it writes then would go into a file that has no name any more. So the old disk is held across the rename
(`in_use.Lease`) and keeps a second name in staging. After the rename it is asked once more whether anyone
came for it. If so, it gets its name back, and only then does its opener go on.

    replace:  link disk to staging, rename the new file over disk, look
    remove:   rename disk to staging, look
"""

from __future__ import annotations

import contextlib
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import formats, in_use, interrupted
from bangerbuild.errors import BusyError
from bangerbuild.host.closing import Closing
from bangerbuild.model import ArtifactPath
from bangerbuild.store import directories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

ASIDE = "~"
"""Behind the name of a staged file: the name of what it replaces."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_of_a_vm(artifact: str) -> bool:
    """Whether an artifact is a disk that a VM may open to write."""
    return ArtifactPath(artifact).table == "vm" and formats.is_disk(artifact)


class Place(Closing):
    """The place of one artifact: its directory, open, and what is there now.

    Args:
        directory: where the artifact lies, open as long as this is used.
        name: its name there.
        aside: a path in staging that what is there gets, as long as it may have to come back.
    """

    def __init__(self, directory: int, name: str, aside: Path) -> None:
        self._directory = directory
        self._name = name
        self._aside = aside
        self._moved: dict[str, Path] = {}
        """What has a name in staging, by its name in the directory."""
        self._lease: in_use.Lease | None = None
        self.before = self._status()

    @override
    def close(self) -> None:
        """Let those go on who wait for the old disk."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def _status(self) -> os.stat_result | None:
        try:
            return os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there, which was not made here."""
        return self.before is not None and stat.S_ISDIR(self.before.st_mode)

    def hold(self) -> bool:
        """Hold the disk that is there; False if somebody has it open, or has changed it since `before`.

        What is no regular file, and what can't be opened because it is another user's, is not held.
        """
        if self.before is None or not stat.S_ISREG(self.before.st_mode):
            return True
        try:
            self._lease = in_use.Lease(os.open(self._name, _FLAGS, dir_fd=self._directory))
        except FileNotFoundError:
            return False
        except PermissionError:
            return True
        return _same(self._lease.status, self.before) and self._lease.opener() is None

    def take(self, staged: Path, *, keep: bool) -> None:
        """Rename a staged file to the place.

        With `keep`, what was there keeps a second name until `settle` or `put_back`. On a filesystem without
        hard links there is no second name, and nothing can be put back.
        """
        if keep and self.before is not None:
            with contextlib.suppress(OSError):
                os.link(self._name, self._aside, src_dir_fd=self._directory, follow_symlinks=False)
                self._moved[self._name] = self._aside
        os.rename(staged, self._name, dst_dir_fd=self._directory)

    def clear(self, names: Iterable[str]) -> None:
        """Move files of these names to staging, where they are until `settle` or `put_back`."""
        for number, name in enumerate(names):
            aside = self._aside.with_name(f"{self._aside.name}{number}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, aside, src_dir_fd=self._directory)
                self._moved[name] = aside

    @property
    def is_wanted(self) -> bool:
        """Whether somebody came for the disk that was there, and it can be put back."""
        is_kept = self._name in self._moved
        return is_kept and self._lease is not None and self._lease.opener() is not None

    def put_back(self, staged: Path | None = None) -> None:
        """Give what was there its names again; what is there now gets the name `staged` again."""
        if staged is not None:
            os.link(self._name, staged, src_dir_fd=self._directory, follow_symlinks=False)
            if self._name not in self._moved and self.before is None:
                os.unlink(self._name, dir_fd=self._directory)
        while self._moved:
            name, aside = self._moved.popitem()
            os.rename(aside, name, dst_dir_fd=self._directory)

    def settle(self) -> None:
        """Remove what was there for good."""
        while self._moved:
            _, aside = self._moved.popitem()
            aside.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of these names."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._directory)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns) == (other.st_ino, other.st_size, other.st_mtime_ns)


def remove(root: Path, artifacts: Sequence[str], aside: Callable[[str], Path]) -> None:
    """Remove artifacts, and what an interrupted change has left beside them: all, or none if one is in use.

    Args:
        root: the store's directory.
        artifacts: in the order in which they go; some may be gone.
        aside: gives a path in staging for an artifact.

    Raises:
        BusyError: a VM has one of the disks open, or opened it meanwhile; all are where they were.
        StoreError: a directory on the way is a symlink: nothing is removed outside the store.
    """
    with directories.OpenDirectories(root, follow=False) as opened, ExitStack() as stack:
        places: dict[str, Place] = {}
        for artifact in artifacts:
            directory, _, name = artifact.rpartition("/")
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                place = Place(opened.descriptor(directory), name, aside(artifact))
                places[artifact] = stack.enter_context(place)
        places = {artifact: place for artifact, place in places.items() if not place.is_directory}
        disks = {artifact: place for artifact, place in places.items() if is_of_a_vm(artifact)}
        try:
            for artifact, place in disks.items():
                _clear(root, artifact, place)
            _check_unwanted(disks)
        except BaseException:
            for place in disks.values():
                place.put_back()
            raise
        for artifact, place in places.items():
            place.settle()
            if artifact not in disks:
                place.remove(_names(artifact))


def _clear(root: Path, artifact: str, place: Place) -> None:
    path = root / artifact
    is_disk = place.before is not None and stat.S_ISREG(place.before.st_mode)
    if is_disk and (who := in_use.holder(path)):
        raise BusyError(f"'{artifact}' is in use by {who} now", hint="shut the VM down first")
    if not place.hold():
        raise _opened_meanwhile(artifact)
    place.clear(_names(artifact))


def _check_unwanted(disks: Mapping[str, Place]) -> None:
    for artifact, place in disks.items():
        if place.is_wanted:
            raise _opened_meanwhile(artifact)


def _opened_meanwhile(artifact: str) -> BusyError:
    return BusyError(
        f"'{artifact}' was opened by another program while it was to be removed: it stays",
        hint="shut the VM down first",
    )


def _names(artifact: str) -> tuple[str, ...]:
    """The names of an artifact and of what may lie beside it."""
    path = Path(artifact)
    return path.name, *(left.name for left in interrupted.leftovers(path))
