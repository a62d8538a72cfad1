"""The files of an image layout, in a directory or in a tarball, which is read without unpacking it."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import MAGIC_BYTES, compression_of
from bangerbuild.formats.digest import stat_key
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import changed, check_is_file, opened_file, stat_of, unreadable
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.formats.slices import PlainBytes, part_of
from bangerbuild.formats.tarindex import read_index
from bangerbuild.formats.tarstream import TarStream
from bangerbuild.formats.unpacked_bytes import UnpackedBytes
from bangerbuild.host import observed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.formats.digest import StatKey
    from bangerbuild.formats.slices import RandomAccess
    from bangerbuild.formats.tarindex import Part, TarIndex

DAMAGED_HINT = "the image is damaged: fetch or copy it again"
_ARCHIVE_HINT = "an image in a tarball is named with 'oci-archive:FILE' or 'docker-archive:FILE'"
_LAYOUT_HINT = "a layout that is a directory is named with 'oci:DIRECTORY'"
_DIRECTORY_HINT = "a directory of files is named with `directory = …`"
_TARBALL_HINT = "a tarball of a whole tree is named with `tar = …`"
MARKER, DOCKER_MANIFEST = "oci-layout", "manifest.json"
_OTHER_KINDS = {
    MARKER: "it is a layout: name it with 'oci-archive:FILE'",
    DOCKER_MANIFEST: "it is an archive of Docker's: name it with 'docker-archive:FILE'",
    "repositories": "it is an archive of a Docker before 1.10: load it into one of today, and save it again",
}
"""How to name an archive, by a file that it contains."""


@dataclass(frozen=True)
class OpenFile:
    """An open file of a layout, at its start."""

    file: BinaryIO
    seen: StatKey
    """Its stat key, which changes whenever the content may have changed."""
    digest: str | None = None
    """`sha256:…`, if it is known already."""


class OciLayout(Protocol):
    """Access to the files of a layout by name, such as `blobs/sha256/…`."""

    @property
    def packed_bytes(self) -> int | None:
        """The size of the tarball that holds the layout; None for a directory."""

    def check(self, written: str) -> None:
        """Raise a SourceError if the layout does not exist; `written` is its name in messages."""

    def size_of(self, name: str, written: str) -> int | None:
        """The size of a file; None if it is missing. SourceError if it is no regular file."""

    def open_file(self, name: str, written: str) -> AbstractContextManager[OpenFile]:
        """Open an existing file; SourceError if it can't be read."""

    def hint(self) -> str:
        """A hint for a user who named something that is no layout."""


@dataclass(frozen=True)
class DirectoryLayout(OciLayout):
    """An OciLayout in a directory."""

    path: Path
    packed_bytes: None = None

    @override
    def check(self, written: str) -> None:
        if not stat.S_ISDIR(stat_of(self.path, written).st_mode):
            raise SourceError(f"'{written}' is no directory", hint=_ARCHIVE_HINT)

    @override
    def size_of(self, name: str, written: str) -> int | None:
        path = self.path / name
        observed.look(path)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            raise unreadable(err, written) from err
        return check_is_file(path, written).st_size

    @contextmanager
    @override
    def open_file(self, name: str, written: str) -> Iterator[OpenFile]:
        with opened_file(self.path / name, written) as file:
            yield OpenFile(file, stat_key(os.fstat(file.fileno())))

    @override
    def hint(self) -> str:
        return _DIRECTORY_HINT


@dataclass(frozen=True)
class TarLayout(OciLayout):
    """An OciLayout in a tarball, which must stay open."""

    tarball: BinaryIO
    written: str
    """The tarball's name in messages."""
    seen: StatKey
    source: RandomAccess
    index: TarIndex

    @property
    @override
    def packed_bytes(self) -> int:
        return os.fstat(self.tarball.fileno()).st_size

    def with_names(self, names: Mapping[str, str]) -> TarLayout:
        """A copy with further names for existing files (new name: old name)."""
        return replace(self, index=self.index.with_names(names))

    @override
    def check(self, _written: str) -> None:
        pass

    @override
    def size_of(self, name: str, written: str) -> int | None:
        part = self._find(name, written)
        return part.size_bytes if part else None

    @contextmanager
    @override
    def open_file(self, name: str, written: str) -> Iterator[OpenFile]:
        """SourceError also if the tarball has changed."""
        part = self._find(name, written)
        if part is None:
            raise SourceError(
                f"'{written}' is not there: '{self.written}' has no '{name}'", hint=DAMAGED_HINT
            )
        if stat_key(os.fstat(self.tarball.fileno())) != self.seen:
            raise changed(self.written)
        with part_of(self.source, part.offset, part.size_bytes) as file:
            yield OpenFile(file, self.seen, part.digest)

    @override
    def hint(self) -> str:
        kinds = (hint for name, hint in _OTHER_KINDS.items() if name in self.index.entries)
        return next(kinds, _TARBALL_HINT)

    def _find(self, name: str, written: str) -> Part | None:
        try:
            return self.index.find(name)
        except FormatError as err:
            raise SourceError(f"'{written}': '{name}' {err.brief}") from err


@contextmanager
def open_tarball(path: Path, *, written: str, limits: UnpackLimits) -> Iterator[TarLayout]:
    """Open a layout in a tarball, plain or compressed.

    A compressed tarball is read to its end once for the index; each file is then decompressed when it is
    read.

    Args:
        path: of the tarball.
        written: its name in messages.
        limits: how much it may decompress to.

    Raises:
        SourceError: it is missing, no tarball, or damaged; or holds a member that can't be read.
    """
    with opened_file(path, written, directory_hint=_LAYOUT_HINT) as file:
        found = os.fstat(file.fileno())
        compression = compression_of(file.read(MAGIC_BYTES))
        budget = Budget(limits, found.st_size, written) if compression else None
        file.seek(0)
        index = read_index(TarStream(file, written, budget=budget))
        source = UnpackedBytes(file, compression, written) if compression else PlainBytes(file)
        yield TarLayout(file, written, stat_key(found), source, index)
