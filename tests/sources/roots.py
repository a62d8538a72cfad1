"""Root filesystems that a container's program is looked up in: made up, or this host's own."""

from __future__ import annotations

import posixpath
import stat
from pathlib import Path

from bangerbuild.disk.inode import Stat
from bangerbuild.tree import TYPES, EntryType


class MadeUpRoot:
    """Executable files and directories by their paths, and files with content."""

    def __init__(
        self, *programs: str, directories: tuple[str, ...] = (), files: dict[str, bytes] | None = None
    ) -> None:
        self._files = files or {}
        modes = dict.fromkeys(programs, (EntryType.FILE, 0o755))
        modes |= dict.fromkeys(directories, (EntryType.DIRECTORY, 0o755))
        modes |= dict.fromkeys(self._files, (EntryType.FILE, 0o644))
        self._stats = {
            path: Stat(100 + number, kind, mode, 0, 0, 0, 0, 1)
            for number, (path, (kind, mode)) in enumerate(modes.items())
        }

    def linked(self, path: str, target: str) -> MadeUpRoot:
        """The same with a link, as busybox is installed."""
        self._stats[path] = self._stats[target]
        return self

    def read(self, path: str) -> bytes | None:
        return self._files.get(path)

    def stat(self, path: str) -> Stat | None:
        return self._stats.get(posixpath.normpath(path))


class HostRoot:
    """This host's files, for scripts that are run on it."""

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None

    def stat(self, path: str) -> Stat | None:
        try:
            found = Path(path).stat()
        except OSError:
            return None
        mode = stat.S_IMODE(found.st_mode)
        kind = TYPES[stat.S_IFMT(found.st_mode)]
        return Stat(found.st_ino, kind, mode, found.st_uid, found.st_gid, found.st_size, 0, found.st_nlink)
