"""A file_sync of a host tree, as a patch has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.declared import FileSync
from bangerbuild.formats.survey import survey
from bangerbuild.model import HostPath
from bangerbuild.steps import patching
from tests.fakes import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def tree(host: Path, **options: object) -> FileSync:
    """A file_sync of a host tree to /srv."""
    return FileSync(HostPath(host, host.name), "/srv", **options)  # type: ignore[arg-type]  # any field of FileSync


def synced(sync: FileSync) -> Iterator[patching.PlacedEntry]:
    found = survey(sync.host.path, patching.rules(sync))
    for entry, digest in found.entries(sync.host.written):
        yield patching.placed(sync, entry, digest, EPOCH)
