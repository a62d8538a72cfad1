"""All errors that the program raises deliberately, each class with its exit code.

Any other exception is a bug and keeps its traceback. An error of a library is translated once, in the module
that imports the library, and raised `from` the original. How messages and tables write text and sizes is here
too.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild import identities, shortages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errnos that mean that a disk or quota is full."""
FULL_HINT = "free some space there, or choose another place: --store DIR"
MOST_NAMED = 5
"""As many of a kind does a message name."""
SIZE_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_ORDER = re.compile("[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What turns the direction of a line, or ends it, where nobody sees that."""


def printable(text: str) -> str:
    """A text with control characters spelled out: a guest's file names must not control the terminal."""
    if text.isascii() and text.isprintable():
        return text
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)
    return _ORDER.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable_bytes(data: bytes) -> str:
    r"""Bytes as a text of ASCII in which all others are spelled out: `\x1f\x8b`."""
    return printable(data.decode("ascii", "backslashreplace"))


def few(names: Sequence[str], noun: str = "") -> str:
    """Names in a message, the first of them where there are many: `a, b, c, d, e and 3 more VMs`."""
    more = f" and {len(names) - MOST_NAMED} more {noun}".rstrip() if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def readable_size(size_bytes: int) -> str:
    """A size in the largest unit that it reaches, with one decimal: `16 GiB`, `1.5 MiB`, `512 bytes`."""
    for unit_bytes, name in SIZE_UNITS:
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f}".removesuffix(".0") + f" {name}"
    return f"{size_bytes} bytes"


def exact_size(size_bytes: int) -> str:
    """A size as a manifest gives it, in the largest unit that divides it: `16GiB`, `1536MiB`, `1000`."""
    for unit_bytes, name in SIZE_UNITS:
        if size_bytes % unit_bytes == 0:
            return f"{size_bytes // unit_bytes}{name}"
    return str(size_bytes)


class BangerError(Exception):
    """The base class of all deliberate errors.

    Args:
        brief: one lower-case line that names the object and quotes its values; control characters in it are
            spelled out. In none of the three an address keeps its user name and password.
        details: further information, such as a tool's own output.
        hint: what to do, best as the next command to type.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, brief: str, *, details: str | None = None, hint: str | None = None) -> None:
        self.brief = printable(identities.removed(brief))
        super().__init__(self.brief)
        self.details = details and identities.removed(details)
        self._hint = hint and identities.removed(hint)

    @property
    def hint(self) -> str | None:
        """What to do; where something ran out that the process needs, what to do about that."""
        shortage = shortages.find(self)
        return shortage.hint if shortage else self._hint

    @hint.setter
    def hint(self, hint: str | None) -> None:
        self._hint = hint


@dataclass(frozen=True, order=True)
class Problem:
    """One problem of a manifest: where it is, what is wrong, and what to do."""

    file: str
    """As the user would type it."""
    line: int
    """From 1; 0 if the line is not known."""
    key: str
    """The dotted key path, such as `vm.web.root.size`; empty for the file as a whole."""
    message: str
    hint: str | None = None

    def __post_init__(self) -> None:
        for name in ("key", "message", "hint"):
            if text := getattr(self, name):
                object.__setattr__(self, name, identities.removed(text))

    def lines(self) -> Iterator[str]:
        """The problem as `file:line: key: message`, a format that editors can jump to, and its hint."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        yield f"{place}: {key}{self.message}"
        if self.hint:
            yield f"  hint: {self.hint}"


class ManifestError(BangerError):
    """A manifest with problems; all of them are reported together."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...], store: Path | None = None) -> None:
        super().__init__("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
        self.problems = problems
        self.store = store
        """Where the store would be; None: it can't be told."""

    @override
    def __str__(self) -> str:
        """All problems, a line each and their hints below."""
        return "\n".join(printable(line) for problem in self.problems for line in problem.lines())


class UsageError(BangerError):
    """A command line that names something that does not exist, such as an unknown target."""

    exit_code = 3


class LockFileError(BangerError):
    """A lock file that can't be used, or that contradicts the manifest."""

    exit_code = 3


class BusyError(BangerError):
    """A lock that was not free in time, or a disk that another program has open."""

    exit_code = 4


class GraphError(BangerError):
    """Steps that form no valid graph: an unknown input, an output made twice, a cycle."""


class ClusterError(BangerError):
    """A scheduler or a node that is not there, does not answer, or answers what it should not."""


class StalePlanError(BangerError):
    """A plan that was reviewed, and that is not what would be done now."""


class ToolError(BangerError):
    """An external program that is missing, failed, or exceeded its limits."""


class LibraryError(BangerError):
    """libext2fs is missing or too old to work with."""


class FilesystemError(BangerError):
    """A filesystem that can't be opened, read or changed.

    `code` is libext2fs's error code if there is one; codes below 256 are errnos.
    """

    def __init__(
        self, brief: str, *, details: str | None = None, hint: str | None = None, code: int | None = None
    ) -> None:
        super().__init__(brief, details=details, hint=hint)
        self.code = code


class GuestPathError(FilesystemError):
    """A guest path that can't be used: a loop, a file on the way, a directory at its end."""


class JournalError(FilesystemError):
    """A journal that is damaged."""


class OverlayError(BangerError):
    """A file that holds what differs from a base and is not usable: a dm-snapshot store, a qcow2 file."""


class OtherBaseError(OverlayError):
    """A disk that was made on another image than the one it is said to stand on."""

    made_on = ""
    """What that image is called."""

    @classmethod
    def of(cls, disk: str, made_on: str, base: str) -> Self:
        """The error for a disk, named with the image that it was made on and the one it should stand on."""
        error = cls(
            f"'{disk}' was made on '{made_on}', and not on '{base}'",
            hint="put the disk of this VM back in its place, or make it anew with --replace",
        )
        error.made_on = made_on
        return error


class SourceError(BangerError):
    """A host file, directory or archive that can't be read, or whose content can't be used."""


class StoreError(BangerError):
    """A store that can't be read, written or understood."""


class NoRoomError(StoreError):
    """A full disk: no artifact of a batch was published, but a smaller batch may fit."""


class CacheError(BangerError):
    """A cache that can't be read or written."""


class FetchError(BangerError):
    """A remote source that can't be fetched, or that differs from its pin."""


class OfflineError(FetchError):
    """A remote source that is not in the cache, while the network must not be used."""
