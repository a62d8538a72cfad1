"""The bytes of one tarball, plain or compressed, read forwards and never past its end in silence."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import MAGIC_BYTES, CompressionError, compression_of, decompressed
from bangerbuild.formats.tarheader import BLOCK_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from bangerbuild.formats.limits import Budget

_PIECE_BYTES = 1 << 20
_CUT_HINT = "it was cut short: fetch or make it again"
_DAMAGED_HINT = "fetch or make it again"


class Digest(Protocol):
    """What takes in bytes, as the objects of hashlib do."""

    def update(self, data: bytes, /) -> None:
        """Takes in these."""


class TarStream:
    """Exactly as many bytes as are asked for, or a SourceError that says where the archive broke.

    Args:
        file: the open tarball at its start; stays the caller's to close.
        written: what messages call the archive.
        budget: what it may unpack to; None: anything.
        digest: is given all bytes of a compressed archive as they come out of it.
        is_whole: a digest vouches for it; it may be empty, and have no end mark.
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
        """Where the reader is, for messages: `after 'etc/motd'`."""
        self.compression = compression_of(file.read(MAGIC_BYTES))
        self.position = 0
        """How many plain bytes lie before the next one that is read."""
        self._size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._file = decompressed(file, self.compression) if self.compression else file

    def read_some(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end of the archive."""
        try:
            data = self._file.read(size)
        except CompressionError as err:
            raise self._broken(err) from err
        except OSError as err:
            raise SourceError(f"{self.written!r} can't be read: {os.strerror(err.errno or 0)}") from err
        self.position += len(data)
        self.spend(len(data))
        if self._digest is not None and self.compression:
            self._digest.update(data)
        return data

    def spend(self, count_bytes: int) -> None:
        """Takes so many bytes off the budget; SourceError if it may not unpack to as much."""
        if self._budget is not None:
            self._budget.spend(count_bytes)

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes that must be there."""
        pieces = []
        while size > 0 and (data := self.read_some(min(size, _PIECE_BYTES))):
            pieces.append(data)
            size -= len(data)
        if size:
            raise self.cut()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int, padding: int = 0) -> None:
        """Passes over `size` bytes and what pads them; seeks where the archive is plain.

        There are tools that leave out the padding of the last member, with the end mark.
        """
        spare = padding if self.is_whole else 0
        left = size + padding
        if self.compression is None:
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
        """Reads what follows the archive's end, so that the checksums of a compressed stream are compared."""
        while self.compression and self.read_some(_PIECE_BYTES):
            pass

    def cut(self) -> SourceError:
        """The error for an archive that ends too early."""
        return SourceError(f"{self.written!r} ends {self.place}", hint=_CUT_HINT)

    def damaged(self, brief: str) -> SourceError:
        """The error for an archive that can't be read on; `brief` is a predicate."""
        return SourceError(f"{self.written!r} is damaged {self.place}: it {brief}", hint=_DAMAGED_HINT)

    def _broken(self, err: CompressionError) -> SourceError:
        if err.cut:
            error = self.cut()
        else:
            error = SourceError(f"{self.written!r} can't be read {self.place}", hint=_DAMAGED_HINT)
        error.details = f"{self.written!r} {err.brief}"
        return error


class MemberContent(io.RawIOBase):
    """The data of one member. It reads as many bytes as are asked for while there are any.

    Closed when the next member is asked for: reading on is a ValueError, never another file's data.
    """

    def __init__(self, stream: TarStream, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._padding = -size % BLOCK_BYTES

    def as_file(self) -> BinaryIO:
        """Itself: the io classes are binary files, though not by name (typing.BinaryIO is nominal)."""
        return cast("BinaryIO", self)

    def readable(self) -> bool:
        """True, as the io classes ask for it."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that is left if it is negative."""
        if self.closed:
            raise ValueError("the archive has gone on to its next entry")
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read_exactly(wanted)
        self._left -= wanted
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes, as many as fit; returns how many they are."""
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        """Passes over what was not read, and closes."""
        self._stream.skip(self._left, self._padding)
        self._left = 0
        self.close()
