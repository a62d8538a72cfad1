"""Transfer one file from a server into a draft: resume it after an interruption, retry after a pause.

What the server says about the file's length, the range that it sends and the version is compared with what
arrives. The caller compares the digest.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.errors import FetchError, readable_size
from bangerbuild.fetch.connection import TransientError, request
from bangerbuild.fetch.url_records import NOTHING, Validators
from bangerbuild.identities import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from io import FileIO

    from bangerbuild.fetch.connection import Response, RetryPolicy

TransferProgress: TypeAlias = "Callable[[int, int | None], None]"
"""Called with the number of bytes so far and the total; None if the server does not say it."""

PROGRESS_BYTES = 1 << 16
"""An attempt that receives fewer bytes counts as one without progress."""
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_LOGIN_HINT = "name and password for its server go into ~/.netrc"
_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)")
_LENGTH = re.compile("[0-9]{1,18}")
DEFAULT_MOST_BYTES = 64 << 30


@dataclass(frozen=True)
class TransferRequest:
    """What to request from a server."""

    url: str
    is_pinned: bool
    """The caller knows the digest, so parts of the file may come from different responses."""
    draft: Validators = NOTHING
    """The validators of the bytes in the draft."""
    unless: Validators | None = None
    """The validators of the complete file in the cache, which need not be sent again; None: there is none."""
    most_bytes: int = DEFAULT_MOST_BYTES
    """A file that is larger is not taken."""


@dataclass(frozen=True)
class TransferResult:
    """The outcome of a transfer."""

    validators: Validators
    in_parts: bool = False
    """The bytes come from more than one response."""
    unchanged: bool = False
    """The file in the cache is current; nothing was sent."""


def transfer(
    wanted: TransferRequest,
    file: FileIO,
    *,
    on_start: Callable[[Validators], None],
    progress: TransferProgress,
    policy: RetryPolicy,
) -> TransferResult:
    """Transfer a file, or the rest of it if the draft holds its beginning.

    Args:
        wanted: what to request.
        file: the draft; on an error it keeps what was received.
        on_start: called with the validators before the first byte is written into an empty draft.
        progress: called with the number of bytes so far.
        policy: timeouts and attempts.

    Raises:
        FetchError: the transfer failed.
        OSError: the draft can't be written.
    """
    running = _Transfer(wanted, file, on_start, progress, policy)
    failures = 0
    while True:
        had = _size(file)
        try:
            return running.attempt()
        except TransientError as err:
            failures = 1 if _size(file) >= had + PROGRESS_BYTES else failures + 1
            if failures >= policy.attempts:
                raise FetchError(err.brief, details=err.details, hint="try again later") from err
            time.sleep(_pause_seconds(err, failures, policy))


def _pause_seconds(err: TransientError, failures: int, policy: RetryPolicy) -> float:
    wanted = max(err.wait_seconds, policy.pause_seconds * (1 << failures - 1))
    return min(wanted, policy.longest_pause_seconds)


def _size(file: FileIO) -> int:
    return file.seek(0, 2)


class _Transfer:
    def __init__(
        self,
        wanted: TransferRequest,
        file: FileIO,
        on_start: Callable[[Validators], None],
        progress: TransferProgress,
        policy: RetryPolicy,
    ) -> None:
        self._wanted = wanted
        self._file = file
        self._on_start = on_start
        self._progress = progress
        self._policy = policy
        self._end = time.monotonic() + policy.most_seconds
        self._brief = f"'{shown(wanted.url)}' can't be fetched"
        self._validators = wanted.draft
        self._in_parts = False

    def attempt(self) -> TransferResult:
        """Make one request, for the bytes that are missing."""
        offset = self._usable_bytes()
        with request(self._wanted.url, self._headers(offset), self._policy) as response:
            if response.status == HTTPStatus.NOT_MODIFIED and self._wanted.unless and not offset:
                return TransferResult(self._wanted.unless, unchanged=True)
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                self._check_whole(response, offset)
            else:
                self._take(response, offset)
        return TransferResult(self._validators, self._in_parts)

    def _usable_bytes(self) -> int:
        """How many bytes of the draft can be kept; none if they may belong to another version."""
        if not self._wanted.is_pinned and not self._validators.strong:
            self._start_anew()
        return _size(self._file)

    def _headers(self, offset: int) -> dict[str, str]:
        if offset:
            same = {} if self._wanted.is_pinned else {"If-Range": self._validators.strong}
            return {"Range": f"bytes={offset}-", **same}
        return self._wanted.unless.unless_same() if self._wanted.unless else {}

    def _take(self, response: Response, offset: int) -> None:
        if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise self._refused(response)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            total = self._total_of_part(response, offset)
        else:
            total = self._length(response.headers)
            self._start_anew()
            offset = 0
        if offset:
            self._in_parts = True
        else:
            self._validators = Validators.of(response.headers)
            self._on_start(self._validators)
        self._write(response.pieces, offset, total)

    def _total_of_part(self, response: Response, offset: int) -> int | None:
        """The size of the complete file; the range of the response must be the requested one."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or found[1] is None or int(found[1]) != offset:
            self._start_anew()
            raise TransientError(f"{self._brief}: its server sends another part than was asked for")
        self._check_version(response)
        return None if found[2] == "*" else int(found[2])

    def _check_whole(self, response: Response, offset: int) -> None:
        """Check a response that says that the draft has the whole file; else the file became shorter."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or found[2] != str(offset):
            self._start_anew()
            raise TransientError(f"{self._brief}: it became shorter")
        self._check_version(response)
        self._in_parts = True

    def _check_version(self, response: Response) -> None:
        """Check that a part belongs to the version in the draft: some servers ignore If-Range."""
        if not self._wanted.is_pinned and self._validators.is_contradicted_by(response.headers):
            self._start_anew()
            raise TransientError(f"{self._brief}: it changed while it was sent")

    def _length(self, headers: Mapping[str, str]) -> int | None:
        text = headers.get("Content-Length")
        if text is None:
            return None
        if not _LENGTH.fullmatch(text):
            raise FetchError(f"{self._brief}: its server says it has '{text[:40]}' bytes, which is no number")
        return int(text)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._wanted.most_bytes:
            self._start_anew()
            raise FetchError(
                f"{self._brief}: it has more than {readable_size(self._wanted.most_bytes)}",
                hint="if it is meant to be so large, say with `max_size` how large it may be",
            )

    def _check_time(self) -> None:
        if time.monotonic() > self._end:
            raise FetchError(
                f"{self._brief}: it takes more than {self._policy.most_seconds / 3600:g} hours",
                hint="run it again, which goes on where this one ended, or fetch it from a faster server",
            )

    def _write(self, pieces: Iterator[bytes], offset: int, total: int | None) -> None:
        self._check_size(offset if total is None else total)
        self._file.seek(offset)
        self._progress(offset, total)
        for piece in pieces:
            self._check_size(offset + len(piece))
            _write_all(self._file, piece)
            offset += len(piece)
            self._progress(offset, total)
            self._check_time()
        if total is not None and offset != total:
            if offset > total:
                self._start_anew()
            raise TransientError(f"{self._brief}: its server says it has {total} bytes, and sends {offset}")

    def _start_anew(self) -> None:
        self._file.truncate(0)
        self._in_parts = False

    def _refused(self, response: Response) -> FetchError:
        said = f"{response.status} {response.reason}".strip()
        if response.status in _WORTH_ANOTHER_TRY:
            wait = _wait_seconds(response.headers.get("Retry-After", ""))
            return TransientError(f"{self._brief}: its server says '{said}'", wait_seconds=wait)
        if response.status in _LOGIN:
            return FetchError(f"{self._brief}: its server says '{said}'", hint=_LOGIN_HINT)
        if response.status in _GONE:
            return FetchError(f"'{shown(self._wanted.url)}' is not there: its server says '{said}'")
        return FetchError(f"{self._brief}: its server says '{said}'")


def _write_all(file: FileIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]


def _wait_seconds(text: str) -> float:
    """The pause that a `Retry-After` header asks for, in either of its forms (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdigit():
        return float(text)
    with contextlib.suppress(ValueError, OverflowError):
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    return 0.0
