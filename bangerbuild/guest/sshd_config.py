"""Read an image's sshd_config with what it includes, as sshd would for root (sshd_config(5), servconf.c)."""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bangerbuild.guest.view import GuestView

CONFIG = "/etc/ssh/sshd_config"
_LONGEST_LINE = 4096
"""Longer than any path. A limit is needed because shlex takes minutes for a million characters."""
_MOST_NESTED = 16
"""SERVCONF_MAX_DEPTH of servconf.h."""
_MOST_WORK = 1 << 20
_FILE_WORK = 1 << 10

# A keyword may be quoted and may be followed by one "=" (strdelim in OpenSSH's misc.c).
_DIRECTIVE = re.compile(r'[ \t\r]*(?:"([^"]*)"|([^ \t\r"=]+))[ \t\r]*=?(.*)')


@dataclass(frozen=True)
class Directive:
    """One line: a keyword in lower case, and its arguments as they stand there."""

    keyword: str
    text: str
    in_match: bool = False
    """Whether it is in a Match block, whose values win over those outside."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments without quotes and comments; none if sshd would refuse the line."""
        if len(self.text) > _LONGEST_LINE:
            return ()
        try:
            return tuple(shlex.split(self.text, comments=True))
        except ValueError:  # an unclosed quote: sshd refuses the file
            return ()


def directives(config: bytes) -> Iterator[Directive]:
    """Each line of a file that is no comment."""
    # Latin-1 decodes every byte, because comments may be in any encoding.
    for line in config.decode("latin-1").split("\n"):
        found = _DIRECTIVE.match(line)
        if found is not None and not (found[2] or "").startswith("#"):
            yield Directive((found[1] or found[2] or "").lower(), found[3])


def for_root(view: GuestView) -> Iterator[Directive]:
    """What the image says that holds for a login of root from anywhere, in sshd's order.

    Left out are Match blocks that depend on more than the user, and what files bring that include each other
    without end.
    """
    return _Reading(view).of_file(CONFIG, in_match=False, depth=0)


@dataclass
class _Reading:
    view: GuestView
    left: int = _MOST_WORK
    """How many more bytes and names of files may be looked at."""

    def of_file(self, path: str, *, in_match: bool, depth: int) -> Iterator[Directive]:
        holds, content = True, self._content(path)
        self.left -= len(content) + _FILE_WORK
        for directive in directives(content):
            if self.left < 0:
                return
            if directive.keyword == "match":
                holds, in_match = _matches_root(directive.arguments), True
            elif directive.keyword == "include":
                for included in self._included(directive.arguments) if holds and depth < _MOST_NESTED else ():
                    yield from self.of_file(included, in_match=in_match, depth=depth + 1)
            elif holds:
                yield Directive(directive.keyword, directive.text, in_match)

    def _content(self, path: str) -> bytes:
        """A file; empty if it can't be read, which keeps sshd itself from starting."""
        try:
            return self.view.read(path) or b""
        except BangerError:
            return b""

    def _included(self, patterns: Sequence[str]) -> Iterator[str]:
        """The files that an Include line names. A wildcard in a directory's name finds nothing."""
        for pattern in map(absolute, patterns):
            directory, _, name = pattern.rpartition("/")
            names = self.view.names(directory or "/")
            self.left -= len(names)
            for found in names:
                if fnmatch.fnmatchcase(found, name) and found.startswith(".") == name.startswith("."):
                    yield f"{directory}/{found}"


def _matches_root(criteria: Sequence[str]) -> bool:
    if [word.lower() for word in criteria] == ["all"]:
        return True
    # Both forms are allowed: "User root" and "User=root".
    words = [word for criterion in criteria for word in criterion.split("=", 1)]
    return len(words) == 2 and words[0].lower() == "user" and in_pattern_list("root", words[1])


def in_pattern_list(name: str, patterns: str) -> bool:
    """Whether a list like `a*,!ab` has a name; one match of a negated pattern is enough for no."""
    found = False
    for pattern in patterns.split(","):
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!").replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def absolute(pattern: str) -> str:
    """A pattern of an Include line, which may be relative to sshd's directory."""
    return pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"
