"""An ext2, ext3 or ext4 filesystem, accessed by guest paths: read, write, replace and remove files.

Read this module first. `reading` has the reading methods, `resolve` follows paths, `nodes` makes and frees
inodes, `content` reads and writes file content.
"""

from __future__ import annotations

import functools
from io import BytesIO
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from bangerbuild.disk import labelling
from bangerbuild.disk.content import FileData
from bangerbuild.disk.libext2fs import EA_NO_SPACE, MISSING_EA_FEATURE
from bangerbuild.disk.located import open_named
from bangerbuild.disk.nodes import Nodes
from bangerbuild.disk.reading import FileReader, names_path
from bangerbuild.disk.removal import drop_directory
from bangerbuild.disk.resolve import ResolvedPath, Rules, resolve
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import ALONE, DiskMount, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import BinaryIO

    from bangerbuild.disk.base import ParsedBase
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.content import Extents
    from bangerbuild.disk.labelling import Labels

NO_XATTR = (EA_NO_SPACE, MISSING_EA_FEATURE)
"""The codes of attributes that a filesystem can't hold."""
_LOST_AND_FOUND = "lost+found"
_P = ParamSpec("_P")
_R = TypeVar("_R")
_F = TypeVar("_F", bound="Filesystem")


def changes(
    method: Callable[Concatenate[_F, str, _P], _R],
) -> Callable[Concatenate[_F, str, _P], _R]:
    """Wrap a method that changes the filesystem: after a failed change nothing more may be written."""
    named = names_path(method)

    @functools.wraps(method)
    def wrapped(self: _F, path: str, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not self.writable:
            raise FilesystemError(f"'{self.name}' is open for reading only")
        try:
            return named(self, path, *args, **kwargs)
        except GuestPathError:  # raised before anything is changed
            raise
        except BaseException:
            self._spoiled = True
            raise

    return wrapped


class Filesystem(FileReader):
    """An open filesystem; a context manager that writes at its normal end, and nothing after an exception.

    Paths are absolute guest paths as `os.fsdecode` gives them. Parents are followed as in the guest, and
    never lead out of the filesystem; the last component is followed only where a method says so.

    Args:
        blocks: the disk, which the caller closes; flushed at the normal end.
        writable: whether it may be changed.
        now: the time, in seconds since 1970, for all timestamps; 0 counts as 1.
        allow_unclean: read a filesystem with errors or an unreplayed journal as it is.
        place: where the guest mounts the disk; a path that leads to another disk is an error.
        parsed: the parsed base, if the disk is a new store on it; saves parsing it again.

    Raises:
        FilesystemError: the disk has no filesystem, or one that can't be read or written as requested.
    """

    def __init__(  # noqa: PLR0913 - independent choices, each by its name
        self,
        blocks: Blocks,
        *,
        writable: bool = False,
        now: int = 1,
        allow_unclean: bool = False,
        place: DiskMount = ALONE,
        parsed: ParsedBase | None = None,
    ) -> None:
        sound: set[int] = set()
        if parsed is not None and writable and parsed.fits(blocks):
            self.superblock, sound = parsed.superblock, parsed.sound
            self._handle = parsed.handle_on(blocks, now)
        else:
            self.superblock = read_superblock(blocks, writable=writable, allow_unclean=allow_unclean)
            self._handle = open_named(blocks, writable=writable, now=now)
        self.blocks = blocks
        self.name = blocks.name
        self.writable = writable
        self.place = place
        self.nodes = self._new_nodes(now, sound)
        self._labels: Labels | None = None
        self._open = True
        self._spoiled = False

    def _new_nodes(self, now: int, sound: set[int]) -> Nodes:
        return Nodes(self._handle, self.blocks, self.superblock, now, sound)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Write what is in memory, flush the blocks; a second call does nothing.

        Raises:
            FilesystemError: it can't be written, or an earlier change failed; then nothing is written.
        """
        if not self.writable or self._spoiled:
            self.abandon()
        if self._spoiled:
            raise FilesystemError(f"a change to '{self.name}' broke off, so it is not written")
        if self._open:
            self._open = False
            self._handle.close()
            self.blocks.flush()

    def abandon(self) -> None:
        """Close without writing what is in memory."""
        if self._open:
            self._open = False
            self._handle.abandon()

    def is_unused(self, block: int) -> bool:
        """Whether a block was free when the filesystem was opened, so that nothing on disk refers to it."""
        return self._handle.was_free(block)

    def set_label(self, label: str) -> None:
        """Set the filesystem's label, at most 16 bytes."""
        self._handle.set_label(label.encode())

    def label_with(self, labels: Labels | None) -> None:
        """Give what is written from now on a label each, and what mke2fs made here if that has none."""
        self._labels = labels
        top = self.place.mount_point
        if labels is not None and top != "/":
            self._label_unlabelled(self.nodes.root, top)
            lost = f"{top}/{_LOST_AND_FOUND}"
            found = None if lost in self.place.others else self.stat(lost, follow=False)
            if found is not None:
                self._label_unlabelled(found.ino, lost)

    def _label_unlabelled(self, ino: int, path: str) -> None:
        if self._labels is not None:
            labelling.label_unlabelled(self.nodes, self._labels, ino, path)

    def _label(self, path: str, kind: EntryType) -> Mapping[str, bytes]:
        """The label of what is to be written, as an attribute."""
        if self._labels is None:
            return {}
        return labelling.label_of(self.nodes, self._labels, self._target(path), kind)

    def _make_parent(self, parent: int, name: bytes, path: str) -> int:
        """Make a missing parent, mode 0755, owner root."""
        ino = self.nodes.make_parent(parent, name)
        self._label_unlabelled(ino, path)
        return ino

    def _target(self, path: str) -> ResolvedPath:
        """The location for a new name; missing parents are made, mode 0755, owner root."""
        rules = Rules(make_directory=self._make_parent, place=self.place)
        found = resolve(self.nodes, self.nodes.root, path, rules)
        if found is None:  # pragma: no cover - only without make_directory
            raise GuestPathError(f"'{path}' has no parent")
        if found.directory:
            self.nodes.refuse_to_name(found.directory)
        return found

    def _clear(self, path: str) -> ResolvedPath:
        """The location for a new name; what is there is removed."""
        found = self._target(path)
        self._refuse_directory(found, path)
        if found.ino:
            self.nodes.drop_name(found.directory, found.name, found.ino)
        return found

    def _refuse_directory(self, found: ResolvedPath, path: str) -> None:
        if found.ino and self.nodes.kind(found.ino) is EntryType.DIRECTORY:
            raise GuestPathError(f"'{path}' is a directory in '{self.name}'")

    @changes
    def write_file(  # noqa: PLR0913 - all that a file is, each by its name
        self,
        path: str,
        content: bytes | BinaryIO,
        *,
        size_bytes: int | None = None,
        data_extents: Extents | None = None,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write a regular file with exactly this content, in a new inode.

        Args:
            path: a symlink, hard link or special file there is replaced; its other names stay.
            content: bytes, or a stream that is read once from its position.
            size_bytes: the file's size, if its content is a stream.
            data_extents: where the file has data, see `tree.Entry`; the stream then has only that.
            mode: permission bits.
            uid: owner.
            gid: group.
            mtime_ns: None means `now`.
            xattrs: by full name.

        Raises:
            GuestPathError: a directory is there, or the path can't be followed.
            SourceError: the stream is too short.
        """
        stream, size = (
            (BytesIO(content), len(content)) if isinstance(content, bytes) else (content, size_bytes)
        )
        if size is None:
            raise ValueError("a stream's size_bytes must be given")
        label = self._label(path, EntryType.FILE)
        place = self._clear(path)
        inode = self.nodes.new(EntryType.FILE, mode, uid, gid, mtime_ns)
        ino = self.nodes.claim(place.directory, inode)
        self.nodes.write_content(ino, inode, FileData(path, stream, size, data_extents))
        self._finish(place, path, ino, EntryType.FILE, {**label, **(xattrs or {})})

    def _finish(  # where, what and which, each by its name
        self, place: ResolvedPath, path: str, ino: int, kind: EntryType, xattrs: Mapping[str, bytes]
    ) -> None:
        self._set_xattrs(path, ino, xattrs)
        self.nodes.add_name(place.directory, place.name, ino, kind)

    def _set_xattrs(self, path: str, ino: int, xattrs: Mapping[str, bytes]) -> None:
        for name in sorted(xattrs):
            try:
                self.nodes.set_xattr(ino, name, xattrs[name])
            except FilesystemError as err:
                if err.code not in NO_XATTR:
                    raise
                raise FilesystemError(
                    f"'{path}' in '{self.name}': {err.brief}",
                    hint="leave the file out, or take the attribute off it: `setfattr -x`",
                    code=err.code,
                ) from err

    @changes
    def make_directory(  # noqa: PLR0913 - all that a directory is, each by its name
        self,
        path: str,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make a directory; an existing one keeps its owner, mode and everything else.

        Raises:
            GuestPathError: something else is there, or the path can't be followed.
        """
        place = self._target(path)
        if place.ino:
            if self.nodes.kind(place.ino) is not EntryType.DIRECTORY:
                raise GuestPathError(f"'{path}' is in the way in '{self.name}': it is no directory")
            return
        given = {**self._label(path, EntryType.DIRECTORY), **(xattrs or {})}
        inode = self.nodes.new(EntryType.DIRECTORY, mode, uid, gid, mtime_ns)
        ino = self.nodes.make_directory(place.directory, place.name, inode)
        self._set_xattrs(path, ino, given)

    @changes
    def make_symlink(
        self, path: str, target: str, *, uid: int = 0, gid: int = 0, mtime_ns: int | None = None
    ) -> None:
        """Make a symlink with exactly this text; what is there is replaced, as in `write_file`."""
        text = target.encode(errors="surrogateescape")
        if not 0 < len(text) < self.superblock.block_bytes or b"\0" in text:
            raise GuestPathError(f"'{path}' can't be a symlink of {len(text)} bytes")
        label = self._label(path, EntryType.SYMLINK)
        place = self._clear(path)
        inode = self.nodes.new(EntryType.SYMLINK, 0o777, uid, gid, mtime_ns)
        ino = self.nodes.claim(place.directory, inode)
        self.nodes.write_target(ino, inode, text)
        self._finish(place, path, ino, EntryType.SYMLINK, label)

    @changes
    def link(self, path: str, existing: str) -> None:
        """Make a hard link to `existing`; what is at `path` is replaced.

        Raises:
            GuestPathError: `existing` is missing or a directory, or has the maximal number of links.
        """
        source = self._existing(existing, follow=False)
        kind = self.nodes.kind(source.ino)
        if kind is None or kind is EntryType.DIRECTORY:
            raise GuestPathError(f"'{existing}' is a directory in '{self.name}' and can have one name only")
        found = self._target(path)
        if found.ino == source.ino:
            return
        self._refuse_directory(found, path)
        self.nodes.count_link(source.ino)
        place = self._clear(path)
        self.nodes.add_name(place.directory, place.name, source.ino, kind)

    @changes
    def remove(self, path: str, *, recursive: bool = False) -> bool:
        """Remove a name, and the file with its last name; the last component is never followed.

        Args:
            path: that nothing is there is no error.
            recursive: remove a directory with its content; otherwise it must be empty.

        Returns:
            Whether something was removed.

        Raises:
            GuestPathError: it is the root, or a directory that is not empty.
        """
        found = self._find(path, follow=False)
        if found is None:
            return False
        if not found.directory:
            raise GuestPathError(f"'{path}' is the root of '{self.name}' and stays")
        is_directory = self.nodes.kind(found.ino) is EntryType.DIRECTORY
        if is_directory and not recursive and self.nodes.entries(found.ino):
            raise GuestPathError(f"'{path}' is a directory in '{self.name}' that is not empty")
        self._drop(found, is_directory=is_directory)
        return True

    def _drop(self, found: ResolvedPath, *, is_directory: bool) -> None:
        """Remove what is there, with all that is in it."""
        if is_directory:
            drop_directory(self.nodes, found.directory, found.name, found.ino)
        else:
            self.nodes.drop_name(found.directory, found.name, found.ino)

    @changes
    def set_attributes(  # noqa: PLR0913 - all that may change, each by its name
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        follow: bool = True,
    ) -> None:
        """Change the given attributes; the others stay.

        Raises:
            GuestPathError: nothing is there.
        """
        found = self._existing(path, follow=follow)
        ino = found.ino
        self._label_unlabelled(ino, found.path)
        inode = self.nodes.inode(ino)
        for field, value in (("mode", mode), ("uid", uid), ("gid", gid), ("mtime_ns", mtime_ns)):
            if value is not None:
                setattr(inode, field, value)
        inode.set_ctime(self.nodes.now)
        self.nodes.save(ino, inode)

    @changes
    def set_xattr(self, path: str, name: str, value: bytes, *, follow: bool = True) -> None:
        """Set an extended attribute by its full name; POSIX ACLs are in the kernel's form."""
        self.nodes.set_xattr(self._existing(path, follow=follow).ino, name, value)

    @changes
    def remove_xattr(self, path: str, name: str, *, follow: bool = True) -> None:
        """Remove an extended attribute; that it is missing is no error."""
        self.nodes.remove_xattr(self._existing(path, follow=follow).ino, name)
