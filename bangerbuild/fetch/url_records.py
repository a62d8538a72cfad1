"""What an address gave when it was last asked, so that it need not send the same again.

A server says what version of a file it has by an entity tag or a time (RFC 9110, 8.8). With these a draft
that was cut off is gone on with only if the file is still the same, and a whole one is not sent twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Validators:
    """By what a server tells the versions of a file apart; empty what it does not say."""

    etag: str = ""
    last_modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Validators:
        """From a response's headers.

        A time tells versions apart only if the file was a second old when it was sent: times are whole
        seconds, and in the same second it can have changed once more (RFC 9110, 8.8.2.2).
        """
        modified = headers.get("Last-Modified", "")
        return cls(headers.get("ETag", ""), modified if _is_past(modified, headers.get("Date", "")) else "")

    @property
    def strong(self) -> str:
        """What `If-Range` takes; empty if there is nothing that stands for exactly these bytes."""
        if self.etag:
            return "" if self.etag.startswith("W/") else self.etag
        return self.last_modified

    def is_contradicted_by(self, headers: Mapping[str, str]) -> bool:
        """Whether a response says that it is of another version; one may leave out what tells."""
        if self.etag and (etag := headers.get("ETag")):
            return etag != self.etag
        modified = headers.get("Last-Modified")
        return bool(self.last_modified and modified) and modified != self.last_modified

    def unless_same(self) -> dict[str, str]:
        """Headers that ask for the file unless it is still the same."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}


def _is_past(modified: str, sent: str) -> bool:
    try:
        return parsedate_to_datetime(sent) - parsedate_to_datetime(modified) >= timedelta(seconds=1)
    except (ValueError, TypeError):  # one of them is missing or no time, or only one of them names its zone
        return False


NOTHING = Validators()
"""A server that does not tell them apart, or was never asked."""


@dataclass(frozen=True)
class UrlRecord:
    """What is known of an address."""

    validators: Validators = NOTHING
    digest: str = ""
    """Of the whole file; empty as long as only a draft of it is there."""


def key_of(url: str) -> str:
    """What an address is called in the cache; it may hold a password, and so is nowhere written as it is."""
    return hashlib.sha256(url.encode()).hexdigest()


def read(path: Path) -> UrlRecord:
    """What a file remembers; nothing if it is not there, or not understood."""
    try:
        fields = json.loads(path.read_bytes())
        return UrlRecord(Validators(fields["etag"], fields["last_modified"]), fields["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return UrlRecord()


def write(path: Path, known: UrlRecord) -> None:
    """Remember it from now on; the caller holds the draft of the address.

    Raises:
        OSError: it can't be written.
    """
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({**asdict(known.validators), "digest": known.digest}))
    draft.rename(path)
