"""The entries of a squashfs one after the other; while a file is read, what comes after it is expanded."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, cast

from typing_extensions import override

from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.format_error import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from _typeshed import WriteableBuffer

    from bangerbuild.errors import SourceError
    from bangerbuild.formats.squashfs.content import Expander, Job, Part
    from bangerbuild.tree import Entry

    Translate: TypeAlias = Callable[[SourceError, str], SourceError]
    """An error of an entry as the caller tells it; the second argument is its path."""

_MOST_WAITING = 1024
"""As many entries, and blocks of files, may be known before they are asked for."""


class Stream:
    """Looks ahead in the entries of an image, as soon as any content is read.

    Args:
        expander: of the image.
        told: what becomes of an error of an entry.
    """

    def __init__(self, expander: Expander, told: Translate) -> None:
        self._expander = expander
        self.told = told
        self._walk: Iterator[Entry] = iter(())
        self._waiting: deque[Entry] = deque()
        self._waiting_count = 0
        self._unbegun: deque[FileContent] = deque()

    def content(self, path: str, parts: Iterator[Part], count: int) -> FileContent:
        """The content of the next entry, which has so many parts."""
        content = FileContent(self, path, parts, count)
        self._unbegun.append(content)
        return content

    def entries(self, walk: Iterator[Entry]) -> Iterator[Entry]:
        """The entries of `walk`, which makes their contents here."""
        self._walk = walk
        while self._waiting or self._pull():
            entry = self._waiting.popleft()
            self._waiting_count -= _weight(entry)
            yield entry
            if entry.content is not None:
                entry.content.close()
                while self._unbegun and self._unbegun[0].closed:
                    self._unbegun.popleft()

    def _pull(self) -> bool:
        entry = next(self._walk, None)
        if entry is None:
            return False
        self._waiting.append(entry)
        self._waiting_count += _weight(entry)
        return True

    def fill(self) -> None:
        """Have as much expanded as may be, of the entry that is read and of those that follow."""
        while not self._expander.is_full:
            while self._unbegun and not self._unbegun[0].begin():
                self._unbegun.popleft()
            if not self._unbegun and (self._waiting_count >= _MOST_WAITING or not self._pull()):
                return

    def begin(self, content: FileContent, part: Part) -> Job:
        """Have a part expanded."""
        try:
            return self._expander.begin(part)
        except (FormatError, CompressionError) as err:
            raise self.told(err, content.path) from err

    def end(self, content: FileContent, job: Job) -> bytes:
        """The content of a part, waited for."""
        try:
            return self._expander.end(job)
        except (FormatError, CompressionError) as err:
            raise self.told(err, content.path) from err
        finally:
            self._expander.drop(job)

    def drop(self, jobs: deque[Job]) -> None:
        """Forget parts that nobody wants."""
        for job in jobs:
            job.block.cancel()
            self._expander.drop(job)
        jobs.clear()


class FileContent(io.RawIOBase):
    """The data of a file, without its holes. A read returns all requested bytes unless the data ends.

    It is closed when the next entry is asked for; a later read raises a ValueError.
    """

    def __init__(self, stream: Stream, path: str, parts: Iterator[Part], count: int) -> None:
        super().__init__()
        self.path = path
        self.count = count
        self._stream = stream
        self._parts = parts
        self._jobs: deque[Job] = deque()
        self._data = b""

    def as_file(self) -> BinaryIO:
        """This object, typed as BinaryIO: the io classes do not inherit from typing.BinaryIO."""
        return cast("BinaryIO", self)

    def begin(self) -> bool:
        """Have its next part expanded; False if it has none any more."""
        part = None if self.closed else next(self._parts, None)
        if part is None:
            return False
        self._jobs.append(self._stream.begin(self, part))
        return True

    @override
    def readable(self) -> bool:
        return True

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        if self.closed:
            raise ValueError("the image has gone on to its next entry")
        left = -1 if size is None or size < 0 else size
        pieces = []
        while left and (data := self._data or self._next()):
            taken = data if left < 0 else data[:left]
            self._data = data[len(taken) :]
            left -= len(taken) if left > 0 else 0
            pieces.append(taken)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self) -> bytes:
        self._stream.fill()
        if not self._jobs and not self.begin():
            return b""
        return self._stream.end(self, self._jobs.popleft())

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    @override
    def close(self) -> None:
        self._stream.drop(self._jobs)
        super().close()


def _weight(entry: Entry) -> int:
    return 1 + entry.content.count if isinstance(entry.content, FileContent) else 1
