"""The bytes of concatenated cpio archives, read forwards: some plain, some in a compression of their own.

An initrd is made so: plain archives, such as early microcode, and then compressed ones, with zeros between
them (Documentation/driver-api/early-userspace/buffer-format.rst). The kernel reads each as it comes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats import signatures
from bangerbuild.formats.compression import MAGIC_BYTES, CompressionError, compression_of
from bangerbuild.formats.cpioheader import is_header
from bangerbuild.formats.single_stream import SingleStream
from bangerbuild.formats.slices import PlainBytes, part_of
from bangerbuild.formats.tarstream import DAMAGED_HINT, MemberStream

if TYPE_CHECKING:
    from bangerbuild.formats.limits import Budget

_PIECE_BYTES = 1 << 20
_ZEROS_BYTES = 4096


class CpioStream(MemberStream):
    """A reader that returns exactly the requested bytes, or raises a SourceError that says where it failed.

    Args:
        file: the open archives; the caller closes it.
        written: their name in messages.
        budget: the limit on what they may unpack to.
    """

    def __init__(self, file: BinaryIO, written: str, budget: Budget) -> None:
        self.written = written
        self.place = "before its first entry"
        self._file = file
        self._size_bytes = os.fstat(file.fileno()).st_size
        self._plain = part_of(PlainBytes(file), 0, self._size_bytes)
        self._packed: SingleStream | None = None
        """What is read now, if it is compressed."""
        self._ahead = b""
        """Bytes that were read and belong to what comes next."""
        self._budget = budget
        self._is_first = True

    def next_archive(self) -> bool:
        """Go to the start of the next archive, past zeros, into a compressed stream or out of one.

        False at the end of the file.

        Raises:
            SourceError: there is something else than an archive.
        """
        while True:
            if not self._skip_zeros():
                if self._packed is None:
                    return not self._is_end_expected()
                self._plain.seek(self._packed.end)
                self._packed = None
            elif (compression := compression_of(self._look(MAGIC_BYTES))) and self._packed is None:
                offset = self._plain.tell() - len(self._ahead)
                self._ahead = b""
                self._packed = self._opened(offset, compression)
            else:
                self._check_start()
                return True

    def _is_end_expected(self) -> bool:
        if self._is_first:
            raise SourceError(f"'{self.written}' holds no cpio archive", hint=DAMAGED_HINT)
        return True

    def _check_start(self) -> None:
        """Whether an archive begins here; what else it is, is said of the first one only."""
        if is_header(self._look(signatures.HEAD_BYTES if self._is_first else _ZEROS_BYTES)):
            self._is_first = False
        elif self._is_first:
            raise self._other_kind()
        else:
            raise self.damaged("goes on with something that is no cpio archive")

    def _other_kind(self) -> SourceError:
        """The error of a file without any archive, by its first bytes, zeros too."""
        head, compression = self._head()
        found = signatures.identify(head) or signatures.described(self._ahead)
        if found.is_cpio:
            return SourceError(f"'{self.written}' is damaged: its first header is none", hint=DAMAGED_HINT)
        what = f"{found.what}{signatures.inside(compression)}"
        hint = found.way_out_of(compression)
        return SourceError(f"'{self.written}' is no cpio archive but {what}", hint=hint)

    def _head(self) -> tuple[bytes, str | None]:
        """How the file begins, unpacked, and how it is compressed."""
        head = os.pread(self._file.fileno(), signatures.HEAD_BYTES, 0)
        compression = compression_of(head)
        if compression is None:
            return head, None
        try:
            return self._opened(0, compression).file.read(signatures.HEAD_BYTES), compression
        except CompressionError as err:
            raise self._broken(err) from err

    def _skip_zeros(self) -> bool:
        """Read past zeros; False at the end of what is read now."""
        while not self._ahead:
            data = self._read(_ZEROS_BYTES)
            if not data:
                return False
            self._ahead = data.lstrip(b"\0")
        self._ahead = self._ahead.lstrip(b"\0")
        return bool(self._ahead) or self._skip_zeros()

    def _look(self, size: int) -> bytes:
        """The next bytes, which are read again; fewer at the end."""
        while len(self._ahead) < size and (data := self._read(size - len(self._ahead))):
            self._ahead += data
        return self._ahead

    @override
    def read_some(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end of what is read now."""
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data + self._read(size - len(data)) if len(data) < size else data

    def _opened(self, offset: int, compression: str) -> SingleStream:
        try:
            return SingleStream(self._file, offset, compression)
        except CompressionError as err:
            raise self._broken(err) from err

    def _broken(self, err: CompressionError) -> SourceError:
        error = self.cut() if err.cut else self.damaged("does not decompress")
        error.details = f"'{self.written}' {err.brief}"
        return error

    def _read(self, size: int) -> bytes:
        try:
            data = (self._packed.file if self._packed else self._plain).read(size)
        except CompressionError as err:
            raise self._broken(err) from err
        except OSError as err:
            raise SourceError(f"'{self.written}' can't be read: {os.strerror(err.errno or 0)}") from err
        self._budget.spend(len(data))
        return data

    def spend(self, count_bytes: int) -> None:
        """Subtract so many bytes from the budget; SourceError if it is exceeded."""
        self._budget.spend(count_bytes)

    @override
    def skip(self, size: int, padding: int = 0) -> None:
        left = size + padding - len(self._ahead)
        self._ahead = self._ahead[size + padding :]
        if self._packed is None and left > 0:
            if self._plain.tell() + left > self._size_bytes:
                raise self.cut()
            self._budget.spend(left)
            self._plain.seek(left, os.SEEK_CUR)
            return
        while left > 0:
            if not (data := self._read(min(left, _PIECE_BYTES))):
                raise self.cut()
            left -= len(data)
