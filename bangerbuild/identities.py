"""Names and passwords in addresses: what may be shown and kept of an address, or of a text that may hold one.

An address with an identity need not be a right one: a password may hold '/', '?' or '@' unquoted, a slash of
'//' may be missing, or the scheme. Where it is not clear how far the identity goes, more is left out.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_LEFT_OUT = "…"
_AT = re.compile(r"@|%40|\uff20|\ufe6b|\\u(?:ff20|fe6b)")
"""Also what becomes one where a name is normalised (UTS #46), and is refused for that."""
_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+")
_NO_SERVER = re.compile("(?i:file:///)")
_QUERY = re.compile("[?#].*", re.DOTALL)
_NO_IDENTITY = r"sha[0-9]+:|[A-Za-z0-9+._-]+:[0-9A-Fa-f]{32}|[0-9]+(?:[KMGT]iB\b|(?![\w.:/-]))"
"""What stands behind any other '@': the digest of an image, its number in an archive, the size of a seed."""
_END = re.compile(f"(?:{_AT.pattern})(?!{_NO_IDENTITY})")
_SCHEME = re.compile(r"""(?:\b(?!file:///)[A-Za-z][A-Za-z0-9+.-]{0,20}:/+|(?<=['"(])//)""")
_COLON = re.compile("(?<!^file)(?::|%3A)(?!///)")
_PART = re.compile(r"""[/'"(=,]""")
_WORD = re.compile(r"\S+")
_WITH_SPACE = re.compile(
    rf"""(?:(?<=\W')|(?<=^')|(?<=["(]))([^'"()\n]{{0,1000}}?{_SCHEME.pattern})"""
    rf"(?=[^'()\n]{{0,2000}}\s)[^'\n]{{0,2000}}{_END.pattern}",
    re.MULTILINE,
)
"""The beginning of an address in quotes or parentheses that has a space in it, up to its last '@'."""


def shown(address: str) -> str:
    """An address for a message: without user name, password and query."""
    if _NO_SERVER.match(address):
        return _QUERY.sub("", address)
    start = _START.match(address)
    scheme = start[0] if start else ""
    rest = address[len(scheme) :]
    query = _QUERY.search(rest)
    plain, asked = (rest[: query.start()], query[0]) if query else (rest, "")
    if _AT.search(asked):  # it may be a password as well as a query
        return scheme + _LEFT_OUT
    more = "?…" if asked.startswith("?") and asked.partition("#")[0] != "?" else ""
    more = "?" if asked == "?" else more
    return scheme + _without_identity(plain) + more


def _without_identity(plain: str) -> str:
    found = list(_AT.finditer(plain))
    if not found:
        return plain
    at = found[-1]
    is_clear = at[0] == "@" and "/" not in plain[: at.start()]
    return plain[at.end() :] if is_clear else f"{_LEFT_OUT}@{plain[at.end() :]}"


def removed(text: str) -> str:
    """A text in which every address that has an identity is without it."""
    if not _AT.search(text):
        return text
    text = _WITH_SPACE.sub(rf"\1{_LEFT_OUT}@", text)
    return _WORD.sub(lambda word: _removed_from(word[0]), text)


def _removed_from(word: str) -> str:
    ends = list(_END.finditer(word))
    start = _start_of_identity(word[: ends[-1].start()]) if ends else None
    return word if start is None else f"{word[:start]}{_LEFT_OUT}@{word[ends[-1].end() :]}"


def _start_of_identity(before: str) -> int | None:
    """Where 'name:password' begins in what stands before an '@'; None if there is none."""
    if scheme := _SCHEME.search(before):
        return scheme.end()
    colon = _COLON.search(before)
    if colon is None:
        return None
    return max((part.end() for part in _PART.finditer(before, 0, colon.start())), default=0)


def kept(address: str) -> str:
    """An address as a file may keep it, for others to compare with: without user name and password.

    A query stays: it says which file is meant.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return shown(address)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return address if parts.scheme == "file" else removed(address)
    return address.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1)
