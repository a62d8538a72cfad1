"""The layers of a new root: changes that all roots of an image share, its file_syncs, and its own files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.disk.layers import Layers, OwnFile, OwnLayer, SharedLayer
from bangerbuild.guest.paths import normal
from bangerbuild.steps import ledger, patching
from bangerbuild.tree import GuestFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.disk.labelling import Labels
    from bangerbuild.disk.layers import Written
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.epoch import Epoch
    from bangerbuild.guest.defaults import DeclaredFiles
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import GuestChange

Twins: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of paths that lead to one name, see `ledger.twins`."""


@dataclass(frozen=True)
class SharedLedger:
    """What one shared layer left."""

    lines: Mapping[str, str]
    """What it wrote that is to be remembered, see `ledger`."""
    warnings: tuple[str, ...] = ()


def layers(  # noqa: PLR0913  # what is written, and what it is made of
    declared: DeclaredFiles,
    now: GuestView,
    *,
    alike: tuple[GuestChange, ...],
    trees: patching.Trees,
    own: tuple[GuestChange, ...],
    lines: Mapping[str, str],
    epoch: Epoch,
    labels: Labels | None,
) -> Layers[SharedLedger, Twins]:
    """The layers of a root.

    Args:
        declared: whose file_syncs are copied, and whose files win over them.
        now: the image.
        alike: what does not depend on the VM; the first layer.
        trees: what the file_syncs bring; the second.
        own: the VM's own changes; the third.
        lines: what of the first and the third is to be remembered.
        epoch: for the times of all of it.
        labels: of the image, for all that is written.
    """
    shared = (_alike(alike, epoch, labels), _synced(declared, trees, now, epoch, labels))
    return Layers(shared, _own(own, lines, epoch, labels))


def lines(written: Written[SharedLedger, Twins]) -> dict[str, str]:
    """What the shared layers wrote that is to be remembered."""
    return _lines(written.shared)


def _lines(shared: Sequence[SharedLedger]) -> dict[str, str]:
    return {path: line for layer in shared for path, line in layer.lines.items()}


def warnings(written: Written[SharedLedger, Twins]) -> tuple[str, ...]:
    """What there was to say while the shared layers were written."""
    return tuple(warning for layer in written.shared for warning in layer.warnings)


def _alike(
    changes: tuple[GuestChange, ...], epoch: Epoch, labels: Labels | None
) -> SharedLayer[SharedLedger]:
    def write(disk: OpenedDisk) -> SharedLedger:
        disk.label_with(labels)
        patching.make(disk, changes, epoch)
        return SharedLedger({})

    return SharedLayer(changes, write)


def _synced(
    declared: DeclaredFiles, trees: patching.Trees, now: GuestView, epoch: Epoch, labels: Labels | None
) -> SharedLayer[SharedLedger]:
    def write(disk: OpenedDisk) -> SharedLedger:
        disk.label_with(labels)
        said: list[str] = []
        entries = patching.synced(declared, now, trees, said.append, epoch)
        return SharedLedger(patching.sync(disk, entries, {}), tuple(said))

    spared = trees.paths & {normal(file.guest) for file in declared.files}
    return SharedLayer((declared.file_syncs, spared), write, trees.size_bytes)


def _own(
    changes: tuple[GuestChange, ...], lines: Mapping[str, str], epoch: Epoch, labels: Labels | None
) -> OwnLayer[SharedLedger, Twins]:
    def write(disk: OpenedDisk, below: Sequence[SharedLedger]) -> Twins:
        disk.label_with(labels)
        patching.make(disk, changes, epoch)
        return tuple(ledger.twins(disk, {**_lines(below), **lines}))

    files = tuple(
        OwnFile(change.path, change.content, patching.mtime_ns(change, epoch))
        for change in changes
        if isinstance(change, GuestFile)
    )
    return OwnLayer(tuple(map(_without_content, changes)), files, write)


def _without_content(change: GuestChange) -> object:
    if isinstance(change, GuestFile):
        return change.path, change.mode, change.uid, change.gid
    return change
