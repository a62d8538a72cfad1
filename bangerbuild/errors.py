"""Every error this project raises on purpose.

An error that is not one of these is a bug and keeps its traceback. A foreign library's error is translated
once, where that library is imported, and raised `from` the original.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar, Self

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says where there is no room for more."""
FULL_HINT = "free some space there, or choose another place: --store DIR"


class BangerError(Exception):
    """The root of all deliberate errors.

    Args:
        brief: one lower-case line that names the object and quotes its values.
        details: what a reader may want beyond that, such as a tool's own output.
        hint: the way out, best as the next command to type.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, brief: str, *, details: str | None = None, hint: str | None = None) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with a manifest: where it stands, what it is and the way out."""

    file: str
    """As the user would type it."""
    line: int
    """From 1; 0 where no line can be named."""
    key: str
    """The dotted key path, such as `vm.web.root.size`; empty for the file as a whole."""
    message: str
    hint: str | None = None


class ManifestError(BangerError):
    """A manifest with problems, all of them found in one go."""

    exit_code = 3

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("1 problem" if len(problems) == 1 else f"{len(problems)} problems")
        self.problems = problems


class UsageError(BangerError):
    """A command line that asks for what is not there, such as an unknown target."""

    exit_code = 3


class LockFileError(BangerError):
    """A lock file that can't be used, or that says something else than is asked for."""

    exit_code = 3


class BusyError(BangerError):
    """A lock that was not free in time, or a disk that somebody else holds open."""

    exit_code = 4


class GraphError(BangerError):
    """Steps that make no graph: an unknown input, an output made twice, a cycle."""


class StalePlanError(BangerError):
    """A plan that was reviewed, and that is not what would be done now."""


class ToolError(BangerError):
    """An external program that is missing, failed, or went past its limits."""


class LibraryError(BangerError):
    """libext2fs is missing or too old to work with."""


class FilesystemError(BangerError):
    """A filesystem that can't be opened, read or changed.

    `code` is libext2fs's error code where there is one, an errno below 256 included.
    """

    def __init__(
        self, brief: str, *, details: str | None = None, hint: str | None = None, code: int | None = None
    ) -> None:
        super().__init__(brief, details=details, hint=hint)
        self.code = code


class GuestPathError(FilesystemError):
    """A path that leads nowhere inside the guest: a loop, a file on the way, a directory at its end."""


class JournalError(FilesystemError):
    """A journal that can't be what anybody wrote."""


class SnapshotError(BangerError):
    """A file that is no usable dm-snapshot exception store."""


class OtherBaseError(SnapshotError):
    """A disk that was made on another image than the one it is said to stand on."""

    made_on = ""
    """What that image is called."""

    @classmethod
    def of(cls, disk: str, made_on: str, base: str) -> Self:
        """The error for a disk, named with the image that it was made on and the one it should stand on."""
        error = cls(
            f"'{disk}' was made on '{made_on}', and not on '{base}'",
            hint="put the store of this VM back in its place, or make it anew with --replace",
        )
        error.made_on = made_on
        return error


class SourceError(BangerError):
    """A host file, directory or archive that can't be read, or that holds what can't be taken."""


class StoreError(BangerError):
    """A store that can't be read, written or understood."""


class NoRoomError(StoreError):
    """A full disk on which none of several artifacts could be published; fewer might be."""


class CacheError(BangerError):
    """A cache that can't be read or written."""


class FetchError(BangerError):
    """What lies elsewhere and can't be brought here, or is not what it must be."""


class OfflineError(FetchError):
    """What is not here, where the network may not be asked for it."""
