"""URLs: which ones can be fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from bangerbuild.errors import FetchError
from bangerbuild.identities import shown

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def parse(url: str) -> SplitResult:
    """Split a URL into its parts.

    Raises:
        FetchError: it is no URL, or its scheme can't be fetched.
    """
    try:
        parts = urlsplit(url)
        is_right = _is_right(parts)
    except ValueError:  # the port is no number, or brackets hold no IPv6 address
        is_right = False
    if not is_right:
        raise FetchError(
            f"'{shown(url)}' is no address that can be fetched",
            hint="http://…, https://…, or file:// and an absolute path",
        )
    return parts


def _is_right(parts: SplitResult) -> bool:
    if parts.scheme == "file":
        return parts.netloc in {"", "localhost"} and parts.path.startswith("/")
    host = parts.hostname or ""
    is_name = bool(host) and (":" in host or "%" not in host)  # an IPv6 address may have a zone behind a '%'
    return parts.scheme in {"http", "https"} and is_name and parts.port != 0


def file_path(parts: SplitResult) -> Path:
    """The path in a `file` URL."""
    return Path(unquote(parts.path))
