"""The files of the program that a record lists: this package, the packages it uses, the ext2 libraries.

External programs are not listed here: `process.find` notes where each one was looked for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.manifest.form import SCHEMAS
from bangerbuild.uptodate import check

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("libext2fs.so.2", "libcom_err.so.2")
LOADER_CACHE = "/etc/ld.so.cache"
PACKAGES = ("site-packages", "dist-packages")
"""Directories that have a new entry when a package is installed, and one less when it goes."""


def paths() -> Iterator[str]:
    """Files and directories that may change what is planned; also places where a library was not found."""
    yield from map(str, sorted(Path(check.PACKAGE).rglob("*.py")))
    yield from map(str, SCHEMAS)
    yield from (path for path in sys.path if path.endswith(PACKAGES))
    if mapped := _mapped():
        yield from mapped
        yield LOADER_CACHE
        for library in LIBRARIES:
            yield from _candidates(os.environ.get("LD_LIBRARY_PATH", ""), library)


def _candidates(search_path: str, name: str) -> Iterator[str]:
    """The places where a library is looked for, up to the one where it is found."""
    for directory in search_path.split(os.pathsep):
        path = Path(directory, name)
        yield str(path)
        if path.is_file() and os.access(path, os.X_OK):
            return


def _mapped() -> list[str]:
    """The files of the libraries that this process has loaded (proc(5)); none if it did without them."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if ".so." in line}
    stems = tuple(library.partition(".")[0] for library in LIBRARIES)
    return sorted(file for file in files if Path(file).name.startswith(stems))
