"""The `OpenedDisk` Protocol: the files on a disk, for code that reads and patches them in any format.

`Filesystem` is the one that most formats open: an ext4. A format whose content is more than one filesystem,
such as two trees that the guest joins, opens one of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from bangerbuild.disk.content import Extents
    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.labelling import Labels


class OpenedDisk(Protocol):
    """The files on a disk, by absolute guest paths.

    The methods do, raise and return what those of `Filesystem` do. Different files have different numbers in
    `Stat.ino`. One that is open to be written is written at the normal end of its context.
    """

    name: str
    """What messages call the disk."""

    @property
    def has_errors(self) -> bool:
        """Whether it is marked as having errors: what is read may be wrong then."""

    @property
    def tags(self) -> frozenset[str]:
        """What an fstab may call its filesystem: `UUID=…`, and `LABEL=…` if it has a label."""

    def check_writable(self) -> None:
        """Look whether it could be opened to be written, once its journal is replayed.

        Raises:
            FilesystemError: it could not.
        """

    def stat(self, path: str, /, *, follow: bool = True) -> Stat | None:
        """The metadata of a file of any type; None if nothing is there."""

    def exists(self, path: str) -> bool:
        """Whether something of any type is there."""

    def read(self, path: str, /, *, most_bytes: int = ...) -> bytes | None:
        """The content of a regular file; None only if nothing is there."""

    def read_chunks(self, path: str, /) -> Iterator[bytes] | None:
        """The same in pieces."""

    def listdir(self, path: str, /) -> list[str] | None:
        """The names in a directory, sorted; None if nothing is there."""

    def stats(self, path: str, /) -> Iterator[tuple[str, Stat | None]] | None:
        """The same, each with its metadata."""

    def get_xattrs(self, path: str, /, *, follow: bool = True) -> dict[str, bytes]:
        """All extended attributes by full name."""

    def label_with(self, labels: Labels | None) -> None:
        """Give what is written from now on a label each; None: give none."""

    def write_file(  # noqa: PLR0913 - all that a file is, each by its name
        self,
        path: str,
        /,
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
        """Write a regular file in a new inode; anything but a directory is replaced."""

    def make_directory(  # noqa: PLR0913 - all that a directory is, each by its name
        self,
        path: str,
        /,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int | None = None,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make a directory; an existing one stays as it is."""

    def make_symlink(
        self, path: str, /, target: str, *, uid: int = 0, gid: int = 0, mtime_ns: int | None = None
    ) -> None:
        """Make a symlink; anything but a directory is replaced."""

    def link(self, path: str, /, existing: str) -> None:
        """Make a hard link to `existing`."""

    def remove(self, path: str, /, *, recursive: bool = False) -> bool:
        """Remove a name; whether something was removed."""

    def set_attributes(  # noqa: PLR0913 - all that may change, each by its name
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
        """Change the given attributes; the others stay."""
