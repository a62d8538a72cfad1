"""Turn one inode of a host directory into a tree entry, by rules for owners, modes, times and exclusions."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import modes
from bangerbuild.formats import acl
from bangerbuild.formats.hostfile import unreadable
from bangerbuild.tree import TYPES, Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from bangerbuild.formats.dockerignore import IgnoreRules
    from bangerbuild.formats.sparse import Extents
    from bangerbuild.modes import Mode

_DEVICES = frozenset({EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE})
_KEPT_XATTRS = ("user.", "security.capability", "system.posix_acl_")
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENODATA})


@dataclass(frozen=True)
class TreeRules:
    """What of a host tree is taken, and what is set instead of the host's. Walk and digest obey the same.

    Permission bits are the host's, set-id bits included; the umask plays no part. Sockets are never taken.
    """

    keep_owner: bool = False
    """The host's owners, and its devices; else 0:0, and devices are skipped."""
    mtime_s: int | None = None
    """The time of every entry, in seconds; None: the host's."""
    file_mode: Mode | None = None
    """The permission bits of every regular file; None: the host's."""
    directory_mode: Mode | None = None
    """The same for every directory."""
    top_mode: int | None = None
    """The same for the top, if it is a directory: before all others."""
    exclude: tuple[str, ...] = ()
    """What is left out, in gitignore syntax relative to the top."""
    ignore: IgnoreRules | None = None
    """What is left out, as `.dockerignore` has it."""
    xattrs: bool = True
    """Takes `user.*`, `security.capability` and POSIX ACLs. Others, such as SELinux labels, are the host's
    own affair and stay there."""
    specials: bool = True
    """Takes FIFOs, and devices where owners are kept."""

    def takes(self, type_: EntryType) -> bool:
        """Whether inodes of this type are taken."""
        if type_ in _DEVICES:
            return self.specials and self.keep_owner
        return self.specials if type_ is EntryType.FIFO else type_ is not EntryType.SOCKET

    def without(self, top: Path, path: Path) -> TreeRules:
        """For the context of a build: what lies in the tree at `top`, such as the store, is left out."""
        if self.ignore is None or path == top or not path.is_relative_to(top):
            return self
        return replace(self, ignore=self.ignore.without(str(path.relative_to(top))))

    def mode_of(self, path: str, type_: EntryType, mode: int) -> int:
        """The permission bits of what has these on the host."""
        is_directory = type_ is EntryType.DIRECTORY
        if is_directory and not path and self.top_mode is not None:
            return self.top_mode
        if is_directory or type_ is EntryType.FILE:
            wanted = self.directory_mode if is_directory else self.file_mode
            return modes.applied(wanted, mode, is_directory=is_directory)
        return mode


def host_entry(  # noqa: PLR0913 - what stat does not tell, each by its name
    path: str,
    found: os.stat_result,
    rules: TreeRules,
    xattrs: dict[str, bytes],
    *,
    target: str = "",
    content: BinaryIO | None = None,
    data_extents: Extents | None = None,
) -> Entry:
    """An entry with all that stat tells, and what it does not."""
    type_ = TYPES[stat.S_IFMT(found.st_mode)]
    is_file = type_ is EntryType.FILE
    mode = rules.mode_of(path, type_, stat.S_IMODE(found.st_mode))
    if acl.ACCESS in xattrs and mode != stat.S_IMODE(found.st_mode):
        xattrs = {**xattrs, acl.ACCESS: acl.with_mode(xattrs[acl.ACCESS], mode)}
    return Entry(
        path,
        type_,
        mode=mode,
        uid=found.st_uid if rules.keep_owner else 0,
        gid=found.st_gid if rules.keep_owner else 0,
        mtime_ns=found.st_mtime_ns if rules.mtime_s is None else rules.mtime_s * 10**9,
        size_bytes=found.st_size if is_file else 0,
        device=(os.major(found.st_rdev), os.minor(found.st_rdev)) if type_ in _DEVICES else (0, 0),
        target=target,
        xattrs=xattrs,
        content=content,
        data_extents=data_extents,
    )


def is_taken(xattr: str) -> bool:
    """Whether an extended attribute of that name comes along with a host file."""
    return xattr.startswith(_KEPT_XATTRS)


def taken_xattrs(xattrs: Mapping[str, bytes] | None) -> dict[str, bytes]:
    """Those of a file in a guest that may have come from the host."""
    return {name: value for name, value in (xattrs or {}).items() if is_taken(name)}


def host_xattrs(where: bytes | int, written: str, *, follow: bool = False) -> dict[str, bytes]:
    """The extended attributes worth taking of an open file, or of a path: itself, or its target (`follow`).

    Raises:
        SourceError: they can't be read; `written` is what the message calls the file.
    """
    follow = follow or isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
        kept = sorted(filter(is_taken, names))
        return {name: os.getxattr(where, name, follow_symlinks=follow) for name in kept}
    except OSError as err:
        if err.errno in _NO_XATTRS:
            return {}
        raise unreadable(err, written) from err
