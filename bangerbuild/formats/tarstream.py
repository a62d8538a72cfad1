"""The decompressed bytes of a tarball, read forwards; an archive that ends too early raises an error."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import MAGIC_BYTES, CompressionError, compression_of, decompressed
from bangerbuild.formats.tarheader import BLOCK_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from bangerbuild.formats.limits import Budget

_PIECE_BYTES = 1 << 20
_CUT_HINT = "it was cut short: fetch or make it again"
DAMAGED_HINT = "fetch or make it again"


class Digest(Protocol):
    """The interface of hashlib's objects."""

    def update(self, data: bytes, /) -> None:
        """Add these bytes."""


class MemberStream(ABC):
    """An archive that is read forwards."""

    written: str
    """Its name in messages."""
    place: str
    """The reader's position, for messages: `after 'etc/motd'`."""

    @abstractmethod
    def read_some(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end."""

    @abstractmethod
    def skip(self, size: int, padding: int = 0) -> None:
        """Skip `size` bytes and their padding; SourceError if the archive ends before."""

    def read_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes; SourceError if the archive ends before."""
        pieces = []
        while size > 0 and (data := self.read_some(min(size, _PIECE_BYTES))):
            pieces.append(data)
            size -= len(data)
        if size:
            raise self.cut()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def cut(self) -> SourceError:
        """The error for an archive that ends too early."""
        return SourceError(f"'{self.written}' ends {self.place}", hint=_CUT_HINT)

    def damaged(self, brief: str) -> SourceError:
        """The error for a damaged archive; `brief` is a predicate."""
        return SourceError(f"'{self.written}' is damaged {self.place}: it {brief}", hint=DAMAGED_HINT)


class TarStream(MemberStream):
    """A reader that returns exactly the requested bytes, or raises a SourceError that says where it failed.

    Args:
        file: the open tarball at its start; the caller closes it.
        written: the archive's name in messages.
        budget: the limit on what it may unpack to; None: no limit.
        digest: updated with the decompressed bytes, if the archive is compressed.
        is_whole: the archive's digest is verified, so it may be empty or lack its end mark.
    """

    def __init__(
        self,
        file: BinaryIO,
        written: str,
        *,
        budget: Budget | None = None,
        digest: Digest | None = None,
        is_whole: bool = False,
    ) -> None:
        self.written = written
        self.is_whole = is_whole
        self._budget = budget
        self._digest = digest
        self.place = "before its first entry"
        self.compression = compression_of(file.read(MAGIC_BYTES))
        self.position = 0
        """The offset, in the decompressed bytes, of the next byte."""
        self._size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file = decompressed(file, self.compression) if self.compression else file

    @override
    def read_some(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except CompressionError as err:
            raise self._broken(err) from err
        except OSError as err:
            raise SourceError(f"'{self.written}' can't be read: {os.strerror(err.errno or 0)}") from err
        self.position += len(data)
        self.spend(len(data))
        if self._digest is not None and self.compression:
            self._digest.update(data)
        return data

    def spend(self, count_bytes: int) -> None:
        """Subtract so many bytes from the budget; SourceError if it is exceeded."""
        if self._budget is not None:
            self._budget.spend(count_bytes)

    @override
    def skip(self, size: int, padding: int = 0) -> None:
        """Skip `size` bytes and their padding; an uncompressed archive is seeked in.

        Some tools omit the padding of the last member together with the end mark.
        """
        spare = padding if self.is_whole else 0
        left = size + padding
        if not self.compression:
            self.position += left
            if self.position - spare > self._size_bytes:
                raise self.cut()
            self.spend(left)
            self._file.seek(self.position)
            return
        while left and (data := self.read_some(min(left, _PIECE_BYTES))):
            left -= len(data)
        if left > spare:
            raise self.cut()

    def drain(self) -> None:
        """Read to the end of what is compressed, so that its checksums are verified."""
        while self.compression and self.read_some(_PIECE_BYTES):
            pass

    def _broken(self, err: CompressionError) -> SourceError:
        if err.cut:
            error = self.cut()
        else:
            error = SourceError(f"'{self.written}' can't be read {self.place}", hint=DAMAGED_HINT)
        error.details = f"'{self.written}' {err.brief}"
        return error


class MemberContent(io.RawIOBase):
    """The data of one member, as a file. A read returns all requested bytes unless the data ends.

    It is closed when the next member is read; a later read raises a ValueError.

    Args:
        stream: at the start of the data.
        size: of the data.
        alignment: the multiple of bytes to which an archive pads its data.
    """

    def __init__(self, stream: MemberStream, size: int, alignment: int = BLOCK_BYTES) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._padding = -size % alignment

    def as_file(self) -> BinaryIO:
        """This object, typed as BinaryIO: the io classes do not inherit from typing.BinaryIO."""
        return cast("BinaryIO", self)

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all remaining ones if it is negative."""
        if self.closed:
            raise ValueError("the archive has gone on to its next entry")
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read_exactly(wanted)
        self._left -= wanted
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer with the next bytes; how many there were."""
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Skip the rest of the data and close."""
        self._stream.skip(self._left, self._padding)
        self._left = 0
        self.close()
