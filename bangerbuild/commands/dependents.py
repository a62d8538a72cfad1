"""What in a store needs an image: roots that stand on one, and launch files that name one.

An image's artifacts lie in directories of their own, `images/NAME/FINGERPRINT`, one for each recipe; such a
directory is needed or not as a whole.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bangerbuild.disk import formats
from bangerbuild.launch import files
from bangerbuild.model.fingerprint import FINGERPRINT_LENGTH
from bangerbuild.store.faults import store_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bangerbuild.store import Store

_DIRECTORY = re.compile(rf"images/[a-z0-9][a-z0-9_-]*/[0-9a-f]{{{FINGERPRINT_LENGTH}}}")
_NAMED = re.compile(_DIRECTORY.pattern.encode() + rb"(?=/)")


def image_directory(artifact: str) -> str | None:
    """The directory of an image's artifact; None for any other."""
    directory = str(PurePosixPath(artifact).parent)
    return directory if _DIRECTORY.fullmatch(directory) else None


def image_directories(store: Store) -> list[str]:
    """Every directory of an image that is there, whether or not a record knows it."""
    found = (path for path in (store.path / "images").glob("*/*") if path.is_dir() and not path.is_symlink())
    names = sorted(str(path.relative_to(store.path)) for path in found)
    return [name for name in names if _DIRECTORY.fullmatch(name)]


def dependents(store: Store, *, apart: Collection[str] = ()) -> dict[str, list[str]]:
    """Who needs which directory of an image: ids of roots, and paths of launch files.

    Args:
        store: what is there; a root that is recorded but gone needs nothing.
        apart: artifacts that don't count, because they go too.

    Raises:
        StoreError: a launch file can't be read, so that nothing can be said.
    """
    needed: dict[str, list[str]] = {}
    for directory, who in (*_roots(store, apart), *_launch_files(store, apart)):
        known = needed.setdefault(directory, [])
        if who not in known:
            known.append(who)
    return needed


def _roots(store: Store, apart: Collection[str]) -> Iterator[tuple[str, str]]:
    for record in sorted(store.records.values(), key=lambda record: record.id):
        directory = image_directory(str(record.facts.get("base", "")))
        standing = (artifact for artifact in record.artifacts if artifact not in apart)
        if directory and any(map(store.exists, standing)):
            yield directory, record.step_id


def _launch_files(store: Store, apart: Collection[str]) -> Iterator[tuple[str, str]]:
    """Whatever they say now: a user may have had reasons to edit one."""
    for name in files.names(kernel=True):
        for path in sorted((store.path / "vms").glob(f"*/{name}")):
            artifact = str(path.relative_to(store.path))
            if artifact in apart or not store.exists(artifact):
                continue
            try:
                content = path.read_bytes()
            except OSError as err:
                raise store_error(err, path) from err
            for directory in sorted(set(_NAMED.findall(content))):
                yield directory.decode(), artifact


def unknown_stores(store: Store) -> list[str]:
    """Disks that stand on an image, and of which no record says on which."""
    known = {
        artifact
        for record in store.records.values()
        if "base" in record.facts
        for artifact in record.artifacts
    }
    suffixes = tuple(one.suffix for one in formats.standing_on_base())
    there = (str(path.relative_to(store.path)) for path in (store.path / "vms").glob("*/*"))
    return sorted(name for name in there if name.endswith(suffixes) and name not in known)
