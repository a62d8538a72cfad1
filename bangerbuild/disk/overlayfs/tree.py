"""The files of an upper disk joined with those of a lower one, by guest paths; the upper one takes changes.

A change leaves in the upper tree what the kernel's overlayfs would have left, but for marks that speak of the
lower disk's inodes: the kernel does without them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk.ext4 import Filesystem, changes
from bangerbuild.disk.overlayfs.nodes import JoinedNodes, is_lower
from bangerbuild.tree import ALONE, DiskMount, EntryType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.nodes import Nodes
    from bangerbuild.disk.resolve import ResolvedPath


class JoinedTree(Filesystem):
    """Two trees as one; a context manager that writes the upper disk at its normal end.

    Args:
        blocks: the upper disk, see `Filesystem`.
        lower: the lower disk, open to be read; stays the caller's, who closes it later than this.
        writable: whether the upper disk may be changed.
        now: the time, in seconds since 1970, for all timestamps.
        allow_unclean: read an upper disk with errors or an unreplayed journal as it is.
        place: where the guest mounts the two.

    Raises:
        FilesystemError: the upper disk has no filesystem, or one that can't be read or written as requested.
            That it is no upper disk is said when the first path is asked for.
    """

    def __init__(  # noqa: PLR0913 - independent choices, each by its name
        self,
        blocks: Blocks,
        lower: Filesystem,
        *,
        writable: bool = False,
        now: int = 1,
        allow_unclean: bool = False,
        place: DiskMount = ALONE,
    ) -> None:
        self._lower = lower
        super().__init__(blocks, writable=writable, now=now, allow_unclean=allow_unclean, place=place)

    @override
    def _new_nodes(self, now: int, sound: set[int]) -> Nodes:
        self.joined = JoinedNodes(super()._new_nodes(now, sound), self._lower.nodes, sound)
        return self.joined

    def refuse_other_disk(self) -> None:
        """Refuse an ext4 without the directories of an upper disk, before a path is asked for.

        Raises:
            FilesystemError: it is such a one.
        """
        self.joined.look_for_top()

    @property
    @override
    def tags(self) -> frozenset[str]:
        """None: no device is mounted where the guest has this."""
        return frozenset()

    @override
    def _stat(self, ino: int) -> Stat | None:
        """A directory that is joined of two counts one link, as in the guest."""
        found = super()._stat(ino)
        is_directory = found is not None and found.type is EntryType.DIRECTORY
        if found is None or not is_directory or is_lower(ino) or not self.joined.joined_with(ino):
            return found
        return replace(found, links=1)

    # copying up

    def _upper_directory(self, path: str) -> int:
        """The upper tree's directory at a path without symlinks; what it lacks is copied up."""
        names = _names(path)[len(_names(self.place.mount_point)) :]
        directory = self.joined.root
        for name in names:
            ino = self.joined.child(directory, name)
            directory = self.joined.copy_up(directory, name, ino) if is_lower(ino) else ino
        return directory

    def _above(self, path: str) -> int:
        return self._upper_directory(path.rpartition("/")[0])

    @changes
    def _copy_up(self, path: str, /, *, follow: bool) -> None:
        """Copy up what is at a path, unless it is in the upper tree."""
        found = self._existing(path, follow=follow)
        if not is_lower(found.ino):
            return
        if self.joined.kind(found.ino) is EntryType.DIRECTORY:
            self._upper_directory(found.path)
        else:
            self.joined.copy_up(self._above(found.path), found.name, found.ino)

    @override
    def _make_parent(self, parent: int, name: bytes, path: str) -> int:
        return super()._make_parent(self._above(path), name, path)

    @override
    def _target(self, path: str) -> ResolvedPath:
        found = super()._target(path)
        return found._replace(directory=self._above(found.path)) if found.directory else found

    @override
    def _drop(self, found: ResolvedPath, *, is_directory: bool) -> None:
        """Remove what the upper tree has, and hide what the lower one has."""
        directory = self._above(found.path)
        if not is_lower(found.ino):
            super()._drop(found._replace(directory=directory), is_directory=is_directory)
        self.joined.hide(directory, found.name)

    @override
    def make_directory(
        self,
        path: str,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        """For one that exists, nothing above it is copied up either."""
        there = self.stat(path, follow=False)
        if there is None or there.type is not EntryType.DIRECTORY:
            super().make_directory(path, mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, xattrs=xattrs)

    @override
    def link(self, path: str, /, existing: str) -> None:
        """What has both names below is not copied up for it."""
        source = self.stat(existing, follow=False)
        there = self.stat(path, follow=False)
        if source is not None and there is not None and source.ino == there.ino:
            return
        if source is not None and source.type is not EntryType.DIRECTORY:
            self._copy_up(existing, follow=False)
        super().link(path, existing)

    @override
    def set_attributes(
        self,
        path: str,
        /,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        follow: bool = True,
    ) -> None:
        """What has them already is not copied up for it."""
        given = {"mode": mode, "uid": uid, "gid": gid, "mtime_ns": mtime_ns}
        wanted = {name: value for name, value in given.items() if value is not None}
        if self._is_lower_with(path, wanted, follow=follow):
            return
        self._copy_up(path, follow=follow)
        super().set_attributes(path, mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, follow=follow)

    def _is_lower_with(self, path: str, wanted: Mapping[str, int], *, follow: bool) -> bool:
        found = self.stat(path, follow=follow)
        if found is None or not is_lower(found.ino):
            return False
        return all(getattr(found, name) == value for name, value in wanted.items())

    @override
    def set_xattr(self, path: str, /, name: str, value: bytes, *, follow: bool = True) -> None:
        self._copy_up(path, follow=follow)
        super().set_xattr(path, name, value, follow=follow)

    @override
    def remove_xattr(self, path: str, /, name: str, *, follow: bool = True) -> None:
        if name in self.get_xattrs(path, follow=follow):
            self._copy_up(path, follow=follow)
            super().remove_xattr(path, name, follow=follow)


def _names(path: str) -> list[bytes]:
    return [name for name in os.fsencode(path).split(b"/") if name]
