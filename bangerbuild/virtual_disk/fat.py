"""The files of a FAT filesystem, such as an EFI system partition, listed and copied by mtools.

Nothing is mounted. Each file is copied by itself, with a limit: in the tables of a hostile filesystem a file
may be of any length, and a directory be in itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, ToolError
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.host.process import Command, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.tree import Entry

MOST_FILES = 4096
SECONDS = 60
_ENV = {"LC_ALL": "C.UTF-8", "MTOOLSRC": "/dev/null", "MTOOLS_SKIP_CHECK": "1"}
_TOP = "::/"
_PATTERN = re.compile(r"[*?\[\]\\]")
_EMPTY = f'mdir: File "{_TOP}" not found'  # after the directory that mdir is in
"""What mdir fails with on a filesystem without files."""
_KERNEL = re.compile(r"(?:vmlinu[xz].*|linux|bzImage|Image|kernel.*\.img)")


@dataclass(frozen=True)
class FatFiles:
    """The files of a FAT filesystem."""

    image: Path
    """A private copy of the filesystem."""
    written: str
    """What messages call it."""
    paths: tuple[str, ...]
    """Below its top; a name that mtools would take for a pattern is left out."""

    @property
    def hold_kernel(self) -> bool:
        """Whether one is called as kernels are, wherever it lies."""
        return any(_KERNEL.fullmatch(PurePosixPath(path).name) for path in self.paths)

    def copy(self, directory: Path) -> None:
        """Copy all of them below a new directory, which must not exist.

        Raises:
            SourceError: they can't be read, are too many, or larger than the filesystem itself.
            ToolError: mtools are missing.
        """
        directory.mkdir()
        left = self.image.stat().st_size
        for number, path in enumerate(self.paths):
            if number >= MOST_FILES:
                raise SourceError(f"{self.written} has more than {MOST_FILES} files")
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(self.image, path, target, left, self.written)
            left -= target.stat().st_size


def files_of(image: Path, written: str) -> FatFiles:
    """List the files of a private copy of a filesystem, which messages call `written`.

    Raises:
        SourceError: it can't be read.
        ToolError: mtools are missing.
    """
    listed = _run(image, written, "mdir", "-/", "-a", "-b", _TOP)
    lines = (line.removeprefix(_TOP) for line in listed.splitlines() if line.startswith(_TOP))
    return FatFiles(
        image, written, tuple(path for path in lines if not path.endswith("/") and _is_plain(path))
    )


def walk(directory: Path, written: str, epoch: int) -> Iterator[Entry]:
    """What was copied there: owned by root, of one time, as those of a FAT are in no time zone."""
    rules = TreeRules(mtime_s=epoch, file_mode=0o644, directory_mode=0o755, xattrs=False, specials=False)
    yield from walk_directory(directory, rules, written=written)


def _is_plain(path: str) -> bool:
    return not _PATTERN.search(path) and ".." not in PurePosixPath(path).parts


def _copy(image: Path, path: str, target: Path, most_bytes: int, written: str) -> None:
    limit = max(most_bytes, 1)
    _run(image, written, "mcopy", "-n", f"{_TOP}{path}", str(target), file_bytes=limit)
    if target.stat().st_size > most_bytes:
        raise SourceError(f"the files of {written} are larger than it is itself")


def _run(image: Path, written: str, program: str, *arguments: str, file_bytes: int | None = None) -> str:
    """Run one of mtools; it is given the name of the image alone, as `@@` in a path has a meaning."""
    argv = (program, "-i", image.name, *arguments)
    command = Command(
        argv,
        env=_ENV,
        timeout_seconds=SECONDS,
        directory=str(image.parent),
        file_bytes=file_bytes,
    )
    try:
        return run(command).output
    except ToolError as err:
        if err.details is None:  # it is missing, or took too long
            raise
        if err.details.endswith(_EMPTY):
            return ""
        raise SourceError(f"{written} can't be read as a FAT filesystem", details=err.details) from err
