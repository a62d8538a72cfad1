"""The file /etc/network/interfaces and what it includes (interfaces(5)): read, and taken off one interface.

Text is Latin-1, which decodes every byte, so that what is not changed stays byte for byte.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bangerbuild.errors import GuestPathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bangerbuild.guest.view import GuestView

PATH = "/etc/network/interfaces"
MARK = "# Commented out by bangerbuild, which sets the address of this interface itself:\n"
MOST_FILES = 1000
"""More are in no image but a hostile one."""

_HEADER = re.compile(r"(iface|mapping|template|rename|auto|allow-\S+|no-\S+|source|source-directory)\s")
_SCHEMES = tuple(map(re.compile, (r"eth\d+", r"eno\d+[^.:]*", r"ens\d+[^.:]*", r"enp\d+[^.:]*")))
"""How the kernel and udev name a card (systemd.net-naming-scheme(7)). A guest's card has one name of each."""

_MEMBERS = ("bridge-ports", "bond-slaves", "bond-members", "slaves")
"""The options of a bridge or a bond that name the interfaces below it; a bridge may say `all`."""


@dataclass(frozen=True)
class Stanza:
    """A line that begins with a keyword, and the lines up to the next such line."""

    words: tuple[str, ...]
    """Of the first line; empty if the lines stand before the first keyword."""
    lines: tuple[str, ...]
    """Those that a backslash joins are one; each ends in a newline, but perhaps the file's last."""

    @property
    def names(self) -> tuple[str, ...]:
        """The interfaces that the first line names, as they are written."""
        keyword, *words = self.words or ("",)
        if keyword == "iface":
            return tuple(words[:1])
        names_some = keyword in {"auto", "mapping"} or keyword.startswith("allow-")
        return tuple(words) if names_some else ()

    def options(self, *names: str) -> tuple[str, ...]:
        """The words after the options of these names, in which `_` stands for `-` too."""
        lines = (line.replace("\\\n", " ").split() for line in self.lines[1:])
        return tuple(
            word for key, *words in filter(None, lines) if key.replace("_", "-") in names for word in words
        )

    def is_of(self, keyword: str) -> bool:
        """Whether it begins with this keyword."""
        return self.words[:1] == (keyword,)


def files(view: GuestView) -> dict[str, str]:
    """The content of the file and of those that it includes, by path; empty without the file.

    Raises:
        FilesystemError: one can't be read.
    """
    found: dict[str, str] = {}
    paths = [PATH]
    while paths and len(found) < MOST_FILES:
        path = paths.pop(0)
        content = None if path in found else _content(path, view)
        if content is not None:
            found[path] = content.decode("latin-1")
            paths += _included(path, stanzas(found[path]), view)
    return found


def _content(path: str, view: GuestView) -> bytes | None:
    try:
        return view.read(path)
    except GuestPathError:  # a directory, which ifup does not read either
        return None


def _included(path: str, of_file: Iterable[Stanza], view: GuestView) -> Iterator[str]:
    """Yield what a file includes; a wildcard may stand in the last component only."""
    for stanza in of_file:
        for word in stanza.words[1:]:
            written = posixpath.join(posixpath.dirname(path), word)
            if stanza.is_of("source-directory"):
                yield from _matching(written, "*", view)
            elif stanza.is_of("source"):
                yield from _matching(posixpath.dirname(written), posixpath.basename(written), view)


def _matching(directory: str, pattern: str, view: GuestView) -> Iterator[str]:
    for name in view.names(directory):
        if fnmatch.fnmatchcase(name, pattern) and not name.startswith("."):
            yield posixpath.join(directory, name)


@lru_cache(maxsize=64)
def stanzas(text: str) -> tuple[Stanza, ...]:
    """The stanzas of a file; joined, their lines are the file."""
    found: list[tuple[tuple[str, ...], list[str]]] = [((), [])]
    for line in _lines(text):
        if _HEADER.match(line.lstrip()):
            found.append((tuple(line.replace("\\\n", " ").split()), []))
        found[-1][1].append(line)
    return tuple(Stanza(words, tuple(lines)) for words, lines in found)


def _lines(text: str) -> Iterator[str]:
    """Yield each line with its newline; a backslash joins lines, unless it ends a comment."""
    joined = ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        joined += line
        if not joined.endswith("\\\n") or _is_idle(joined):
            yield joined
            joined = ""
    if joined:
        yield joined


def _is_idle(line: str) -> bool:
    """Whether a line is blank or a comment."""
    return line.lstrip()[:1] in {"", "#"}


def with_manual(texts: Mapping[str, str], mac: str) -> dict[str, str]:
    """The files with the method `manual` for the interface that a guest with one card has.

    Of several names of one naming scheme (`eth0` and `eth1`) that is the first; others stay as they are. So
    do stanzas that configure nothing. Applied to its own result, the function changes nothing.
    """
    parsed = {path: stanzas(text) for path, text in texts.items()}
    every = [stanza for of_file in parsed.values() for stanza in of_file]
    ours = _ours(every, mac)
    have_stanza = {name for one in every if one.is_of("iface") and not _goes(one, ours) for name in one.names}
    missing = set(ours - have_stanza)
    return {
        path: "".join(_commented(one, missing) if _goes(one, ours) else "".join(one.lines) for one in of_file)
        for path, of_file in parsed.items()
    }


def uses_dhcp(texts: Iterable[str]) -> bool:
    """Whether a stanza of these files asks a DHCP server."""
    return any(one.is_of("iface") and "dhcp" in one.words[2:] for text in texts for one in stanzas(text))


def takers(texts: Iterable[str], mac: str) -> tuple[str, ...]:
    """The bridges and bonds that take the interface that a guest with one card has, sorted."""
    every = [stanza for text in texts for stanza in stanzas(text) if stanza.is_of("iface")]
    named = {word for stanza in every for word in (*stanza.names, *stanza.options(*_MEMBERS))}
    cards = {*_cards(named, mac), "all"}
    above = {name for one in every if not cards.isdisjoint(one.options(*_MEMBERS)) for name in one.names}
    masters = {
        word for one in every if not cards.isdisjoint(one.names) for word in one.options("bond-master")
    }
    return tuple(sorted((above | masters) - {"none"}))


def configures_cards(texts: Iterable[str]) -> bool:
    """Whether a stanza of these files gives any interface an address, but for the loopback."""
    return any(
        one.is_of("iface") and one.names != ("lo",) and one.words[3:4] not in {("manual",), ("loopback",)}
        for text in texts
        for one in stanzas(text)
    )


def _goes(stanza: Stanza, ours: frozenset[str]) -> bool:
    """Whether a stanza configures one of our interfaces; the method is its fourth word."""
    is_of_kind = stanza.is_of("iface") or stanza.is_of("mapping")
    return is_of_kind and not ours.isdisjoint(stanza.names) and stanza.words[3:4] != ("manual",)


def _commented(stanza: Stanza, missing: set[str]) -> str:
    """The stanza as comments, after one with the method `manual` for the names that have none yet."""
    names = sorted(missing.intersection(stanza.names))
    missing.difference_update(names)
    new = "".join(f"iface {name} inet manual\n" for name in names)
    return new + MARK + "".join(line if _is_idle(line) else _comment(line) for line in stanza.lines)


def _comment(line: str) -> str:
    return re.sub(r"(?m)^(?=.)", "# ", line)


def _ours(every: Iterable[Stanza], mac: str) -> frozenset[str]:
    """The names under which the guest's card may be configured."""
    pairs = [_pair(name) for stanza in every for name in stanza.names]
    names = {physical for physical, _ in pairs}
    cards = set(_cards(names, mac))
    aliases = {name for name in names if name.partition(":")[0] in cards}  # `eth0:1`, a second address
    logical = {name for physical, name in pairs if physical in cards or _is_pattern(physical)}
    return frozenset(cards | aliases | logical)


def _pair(name: str) -> tuple[str, str]:
    """The interface and the stanza that `eth0=home` names."""
    physical, _, logical = name.partition("=")
    return physical, logical or physical


def _cards(names: set[str], mac: str) -> Iterator[str]:
    yield f"enx{mac.replace(':', '')}"
    for scheme in _SCHEMES:
        if of_scheme := [name for name in names if scheme.fullmatch(name)]:
            yield min(of_scheme, key=_numbers)


def _numbers(name: str) -> tuple[list[int], str]:
    return [int(digits[:9]) for digits in re.findall(r"\d+", name)], name


def _is_pattern(word: str) -> bool:
    return word.startswith("/") or any(character in word for character in "*?[")
