"""What a container runtime makes in an image's root filesystem before it runs the program."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import SourceError
from bangerbuild.sources.container_tools import PATH, find, is_program
from bangerbuild.tree import EntryType, GuestDirectory, GuestSymlink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.sources.source import BuiltRoot
    from bangerbuild.tree import GuestChange

MOUNT_POINTS: Mapping[str, int] = {
    "/dev": 0o755,
    "/proc": 0o555,
    "/sys": 0o555,
    "/run": 0o755,
    "/tmp": 0o1777,  # noqa: S108  # a guest's
}
MTAB = "/etc/mtab"


class Places(Protocol):
    """The paths of an image's configuration; `ImageConfig` satisfies this."""

    @property
    def working_dir(self) -> str: ...
    @property
    def volumes(self) -> tuple[str, ...]: ...


def directories(places: Places, root: BuiltRoot, written: str) -> Iterator[GuestChange]:
    """Yield what is missing: mount points, the working directory, volumes, and `/etc/mtab`.

    Raises:
        SourceError: something else than a directory is there.
    """
    for path, mode in MOUNT_POINTS.items():
        if root.stat(path) is None:
            yield GuestDirectory(path, mode)
    for path in dict.fromkeys((working_directory(places), *map(_absolute, places.volumes))):
        found = root.stat(path)
        if found is None:
            yield GuestDirectory(path)
        elif found.type is not EntryType.DIRECTORY:
            raise SourceError(
                f"'{written}' has a {found.type.value} at '{path}', where its program needs a directory"
            )
    if root.stat(MTAB) is None:
        yield GuestSymlink(MTAB, "/proc/mounts")


def working_directory(places: Places) -> str:
    """Where the program is started."""
    return _absolute(places.working_dir)


def _absolute(path: str) -> str:
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")


def missing_program(
    command: Sequence[str], env: Mapping[str, str], places: Places, root: BuiltRoot
) -> Iterator[str]:
    """Yield a warning if the program is not in the image; a VM's own files may bring it."""
    program = command[0]
    searched = env.get("PATH", PATH).split(":")
    directory = working_directory(places)
    if "/" in program:
        there = is_program(root, posixpath.join(directory, program))
    else:
        there = find(root, program, (posixpath.join(directory, one) for one in searched)) is not None
    if not there:
        where = "" if "/" in program else f" in '{env.get('PATH', PATH)}'"
        yield f"the image's program '{program}' is no executable file{where}: a VM has to bring it"
