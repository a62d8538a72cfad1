"""What a manifest names on this host, and what a plan reads of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import graph as graphs
from bangerbuild.formats.directory import walk_with_stat
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.resolving import lockfile
from bangerbuild.tree import EntryType
from bangerbuild.uptodate import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.graph import Graph
    from bangerbuild.uptodate.record import Stats

USERS = "/etc/passwd"
"""Where `~name` leads."""
IN_LAYOUT = TreeRules(xattrs=False)


def paths(loaded: Manifest) -> Iterator[str]:
    """All that loading looked at, whatever part of it is wanted, and the lock file, be it there or not."""
    yield from map(str, sorted(loaded.read))
    yield str(lockfile.path_beside(loaded))
    yield USERS
    for image in loaded.images.values():
        for source in (image.rootfs, image.work_seed, image.kernel, image.initrd):
            yield from map(str, source.host_paths if source else ())
        yield from (str(sync.host.path) for sync in image.file_syncs)
    for vm in loaded.vms.values():
        yield from (str(sync.host.path) for sync in vm.file_syncs)


def trees(loaded: Manifest, wanted: Graph) -> Stats:
    """What lies in the directories that are read, each looked at once.

    Raises:
        SourceError: it can't be looked at.
        OSError: a link leads out of where a container image lies.
    """
    names: list[str] = []
    numbers: list[int] = []
    for top, rules in {*_layouts(loaded), *_directories(wanted)}:
        for entry, found in walk_with_stat(top, rules, holes=False):
            if rules is IN_LAYOUT and entry.type is EntryType.SYMLINK:
                raise OSError(f"'{top / entry.path}' leads elsewhere")
            if entry.path:  # the top itself may be a link, and is among the paths
                names.append(str(top / entry.path))
                numbers += check.numbers(found)
    return names, numbers


def _layouts(loaded: Manifest) -> Iterator[tuple[Path, TreeRules]]:
    for image in loaded.images.values():
        for source in (image.rootfs, image.work_seed):
            yield from ((tree, IN_LAYOUT) for tree in (source.host_trees if source else ()))


def _directories(wanted: Graph) -> Iterator[tuple[Path, TreeRules]]:
    sources = {source for step in graphs.all_steps(wanted) for source in step.sources}
    for path, rules in {(source.path, source.rules) for source in sources}:
        if path is not None and rules is not None and path.is_dir():
            yield path, rules
