"""Give files that are written the extended attribute that goes with their path: the label of a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.disk.nodes import Nodes
    from bangerbuild.disk.resolve import ResolvedPath
    from bangerbuild.tree import EntryType


class Labels(Protocol):
    """What label each file of a guest has."""

    @property
    def attribute(self) -> str:
        """The attribute's full name."""

    def label(self, path: str, kind: EntryType) -> bytes | None:
        """The value for a path without symlinks; None if none is known."""

    def unknown(self, path: str) -> None:
        """Take note that a file gets no label."""


def label_of(nodes: Nodes, labels: Labels, found: ResolvedPath, kind: EntryType) -> Mapping[str, bytes]:
    """The label of what is to be written: its path's, else that of what it replaces, else its directory's."""
    label = labels.label(found.path, kind)
    for ino in (found.ino, found.directory):
        if label is None and ino:
            label = nodes.xattrs(ino).get(labels.attribute)
    if label is None:
        labels.unknown(found.path)
        return {}
    return {labels.attribute: label}


def label_unlabelled(nodes: Nodes, labels: Labels, ino: int, path: str) -> None:
    """Give a file that is there the label of its path if it has none."""
    kind = nodes.kind(ino)
    if kind is None or labels.attribute in nodes.xattrs(ino):
        return
    label = labels.label(path, kind)
    if label is not None:
        nodes.set_xattr(ino, labels.attribute, label)
