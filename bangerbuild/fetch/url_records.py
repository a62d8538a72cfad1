"""What the cache records about a URL: the digest of its last download, and its HTTP validators.

A server names the version of a file by an entity tag or a modification time (RFC 9110, 8.8). With these an
interrupted download is resumed only if the file is still the same, and an unchanged file is not sent again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from bangerbuild.fetch import answers
from bangerbuild.identities import kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DIGEST = re.compile("(?:[0-9a-f]{64})?")
_MOST_LENGTH = 1000


@dataclass(frozen=True)
class Validators:
    """The HTTP validators of one version of a file; a field that the server did not send is empty."""

    etag: str = ""
    last_modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """From a response's headers.

        A modification time counts only if the file was at least a second old when it was sent: times are
        whole seconds, and the file may have changed again within the same second (RFC 9110, 8.8.2.2).
        """
        modified = headers.get("Last-Modified", "")
        is_old = _is_past(modified, headers.get("Date", ""))
        return cls(_sendable(headers.get("ETag", "")), _sendable(modified) if is_old else "")

    @property
    def strong(self) -> str:
        """The value for `If-Range`; empty if no validator stands for exactly these bytes."""
        if self.etag:
            return "" if self.etag.startswith("W/") else self.etag
        return self.last_modified

    def is_contradicted_by(self, headers: Mapping[str, str]) -> bool:
        """Whether a response has a validator of another version; a missing one proves nothing."""
        if self.etag and (etag := headers.get("ETag")):
            return etag != self.etag
        modified = headers.get("Last-Modified")
        return bool(self.last_modified and modified) and modified != self.last_modified

    def unless_same(self) -> dict[str, str]:
        """Headers that request the file only if it has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}


def _sendable(text: str) -> str:
    """A validator if it can be sent back: one line (a server may fold a header), not longer than usual."""
    return text if len(text) <= _MOST_LENGTH and text.isascii() and text.isprintable() else ""


def _is_past(modified: str, sent: str) -> bool:
    try:
        return parsedate_to_datetime(sent) - parsedate_to_datetime(modified) >= timedelta(seconds=1)
    except (ValueError, TypeError, OverflowError):  # one is missing or malformed, or only one has a time zone
        return False


NOTHING = Validators()
"""For a server that sends no validators, or that was never asked."""


@dataclass(frozen=True)
class UrlRecord:
    """What is recorded about one URL."""

    validators: Validators = NOTHING
    digest: str = ""
    """Of the complete file; empty while there is only a draft."""


def key_of(url: str) -> str:
    """The name of a URL in the cache: a hash of it without its user name and password."""
    return hashlib.sha256(kept(url).encode("utf-8", "surrogatepass")).hexdigest()


def read(path: Path) -> UrlRecord:
    """The record in a file; an empty one if the file is missing or damaged."""
    fields = answers.read(path)
    if not fields.keys() >= {"etag", "last_modified", "digest"} or not _DIGEST.fullmatch(fields["digest"]):
        return UrlRecord()
    return UrlRecord(
        Validators(_sendable(fields["etag"]), _sendable(fields["last_modified"])), fields["digest"]
    )


def write(path: Path, known: UrlRecord) -> None:
    """Write a record; the caller holds the draft of the URL.

    Raises:
        OSError: it can't be written.
    """
    answers.write(path, {**asdict(known.validators), "digest": known.digest})
