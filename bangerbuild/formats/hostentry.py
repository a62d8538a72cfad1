"""Turn one inode of a host directory into a tree entry, by rules for owners, modes, times and exclusions."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.formats.hostfile import unreadable
from bangerbuild.tree import TYPES, Entry, EntryType

if TYPE_CHECKING:
    from typing import BinaryIO

    from bangerbuild.formats.sparse import Extents

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
    file_mode: int | None = None
    """The permission bits of every regular file; None: the host's."""
    exclude: tuple[str, ...] = ()
    """What is left out, in gitignore syntax relative to the top."""
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
    mode = rules.file_mode if is_file and rules.file_mode is not None else stat.S_IMODE(found.st_mode)
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


def host_xattrs(where: bytes | int, written: str) -> dict[str, bytes]:
    """The extended attributes worth taking of an open file, or of a path, itself and not its target.

    Raises:
        SourceError: they can't be read; `written` is what the message calls the file.
    """
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
        kept = sorted(name for name in names if name.startswith(_KEPT_XATTRS))
        return {name: os.getxattr(where, name, follow_symlinks=follow) for name in kept}
    except OSError as err:
        if err.errno in _NO_XATTRS:
            return {}
        raise unreadable(err, written) from err
