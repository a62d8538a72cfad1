"""Merge the layers of an image: a tree of names in memory, to which each layer adds names or removes some.

Only names are kept, each with the layer and the member that it comes from. The rules are those of the
specification's layer.md: `.wh.NAME` removes a name of lower layers; `.wh..wh..opq` removes everything that
lower layers put into a directory, wherever in its layer the marker is; an entry replaces an earlier one,
except that a directory is merged with a directory.

Parents that are symlinks are followed as in the guest, and never lead out of the tree. The last component of
a path is never followed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.formats.format_error import FormatError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bangerbuild.tree import Entry

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."
"""Names at the top that the union filesystem aufs uses itself; `.wh..wh.plnk` holds hard links."""
_SYMLINKS_MAX = 40
"""The number that the kernel follows in one path."""
_WHITEOUT_TYPES = (EntryType.FILE, EntryType.HARD_LINK)
"""aufs made all whiteouts hard links to one file, and some layers contain that."""
_NO_NAMES = ("", ".", "..")


class Origin(NamedTuple):
    """A member of a layer's tarball, both counted from 0."""

    layer: int
    member: int
    is_own: bool
    """Whether the path is the member's own, so that it need not be stored."""


@dataclass(slots=True, eq=False)
class _MergedLeaf:
    """A name that is no directory. Names with the same origin are hard links."""

    layer: int
    """The layer that the name is from."""
    origin: Origin
    symlink: str | None


@dataclass(slots=True, eq=False)
class _MergedDirectory:
    layer: int
    """The last layer with an entry for it, or for anything inside it."""
    origin: Origin | None = None
    """The member whose attributes it has; None: it has no entry of its own."""
    names: dict[str, _MergedLeaf | _MergedDirectory] = field(default_factory=dict)
    cleared: int = -1
    """The last layer that removed everything that lower layers put inside."""


class Merge:
    """The tree while layers are applied, the lowest first; `put` gets each entry of a layer in order."""

    def __init__(self) -> None:
        self._root = _MergedDirectory(0)
        self._layer = self._member = -1

    def next_layer(self) -> None:
        """Begin the next layer."""
        self._layer += 1
        self._member = -1

    def put(self, entry: Entry) -> None:
        """Apply the next entry of the layer.

        Raises:
            FormatError: it can't be applied to the tree; the brief is a predicate.
        """
        self._member += 1
        *above, name = entry.path.split("/")
        is_of_aufs = entry.path.startswith(_AUFS) and entry.path != _OPAQUE
        if not entry.path:
            self._root.origin = self._origin(is_own=True)
        elif is_of_aufs:
            self._add(above, name, entry)
        elif marker := next((part for part in above if part.startswith(_WHITEOUT)), None):
            raise FormatError(f"lies below '{marker}', and names with '.wh.' mark what is removed")
        elif name.startswith(_WHITEOUT):
            self._remove(above, name, entry)
        else:
            self._add(above, name, entry)

    def survivors(self) -> Iterator[tuple[Origin | None, str]]:
        """All paths of the merged tree with their members, directories before their content.

        The member is None for an empty directory without an entry of its own.
        """
        pending: list[tuple[str, _MergedLeaf | _MergedDirectory]] = [("", self._root)]
        while pending:
            path, node = pending.pop()
            if node.origin is not None or (path and isinstance(node, _MergedDirectory) and not node.names):
                yield node.origin, path
            if isinstance(node, _MergedDirectory):
                start = f"{path}/" if path else ""
                below = [(f"{start}{name}", node.names[name]) for name in reversed(node.names)]
                pending += below if path else [at for at in below if not at[0].startswith(_AUFS)]

    def _origin(self, *, is_own: bool) -> Origin:
        return Origin(self._layer, self._member, is_own)

    def _add(self, above: Sequence[str], name: str, entry: Entry) -> None:
        followed = self._followed(above)
        origin = self._origin(is_own=followed == above)
        leaf = self._leaf(entry, origin)
        directory = self._made(followed)
        if leaf is not None:
            directory.names[name] = leaf
            return
        there = directory.names.get(name)
        if not isinstance(there, _MergedDirectory):
            there = directory.names[name] = _MergedDirectory(self._layer)
        there.layer, there.origin = self._layer, origin

    def _leaf(self, entry: Entry, origin: Origin) -> _MergedLeaf | None:
        """The node for an entry; None for a directory."""
        if entry.type is EntryType.DIRECTORY:
            return None
        if entry.type is not EntryType.HARD_LINK:
            symlink = entry.target if entry.type is EntryType.SYMLINK else None
            return _MergedLeaf(self._layer, origin, symlink)
        *above, name = entry.target.split("/")
        directory = self._found(above)
        there = directory.names.get(name) if directory else None
        if not isinstance(there, _MergedLeaf):
            what = "is a directory" if there or not entry.target else "is not there"
            raise FormatError(f"is a hard link to '{entry.target}', which {what}")
        return _MergedLeaf(self._layer, there.origin._replace(is_own=False), there.symlink)

    def _remove(self, above: Sequence[str], name: str, entry: Entry) -> None:
        removed = name.removeprefix(_WHITEOUT)
        if removed in _NO_NAMES:
            raise FormatError(f"marks '{removed}' as removed, which is no name")
        if entry.type not in _WHITEOUT_TYPES:
            raise FormatError(f"is a {entry.type.value}, and names with '.wh.' mark what is removed")
        directory = self._found(above)
        if directory is None:
            return
        if name != _OPAQUE:
            self._hide(directory, [removed] if removed in directory.names else [])
        elif directory.cleared < self._layer:
            directory.cleared = self._layer
            self._hide(directory, directory.names)

    def _hide(self, directory: _MergedDirectory, names: Iterable[str]) -> None:
        """Remove names of lower layers; names of this layer, and the directories above them, stay."""
        pending = [(directory, name) for name in names]
        while pending:
            above, name = pending.pop()
            node = above.names[name]
            if node.layer < self._layer:
                del above.names[name]
            elif isinstance(node, _MergedDirectory) and node.cleared < self._layer:
                node.cleared = self._layer
                if node.origin is not None and node.origin.layer < self._layer:
                    node.origin = None
                pending += [(node, below) for below in node.names]

    def _found(self, parts: Sequence[str]) -> _MergedDirectory | None:
        directory: _MergedDirectory | _MergedLeaf | None = self._root
        for part in self._followed(parts):
            directory = directory.names.get(part) if isinstance(directory, _MergedDirectory) else None
        return directory if isinstance(directory, _MergedDirectory) else None

    def _made(self, followed: Sequence[str]) -> _MergedDirectory:
        """The directory at a path without symlinks; it and its parents are made if missing."""
        directory = self._root
        for part in followed:
            below = directory.names.get(part)
            if isinstance(below, _MergedLeaf):
                raise FormatError(f"lies below '{part}', which is no directory")
            if below is None:
                below = directory.names[part] = _MergedDirectory(self._layer)
            below.layer = self._layer
            directory = below
        return directory

    def _followed(self, parts: Sequence[str]) -> list[str]:
        """The path with all symlinks resolved; a missing component counts as a directory."""
        left = list(reversed(parts))
        trail: list[tuple[str, _MergedLeaf | _MergedDirectory | None]] = []
        symlinks = 0
        while left:
            part = left.pop()
            if part == "..":
                del trail[-1:]
            elif part not in _NO_NAMES:
                above = trail[-1][1] if trail else self._root
                node = above.names.get(part) if isinstance(above, _MergedDirectory) else None
                if not isinstance(node, _MergedLeaf) or node.symlink is None:
                    trail.append((part, node))
                    continue
                symlinks += 1
                if symlinks > _SYMLINKS_MAX:
                    raise FormatError("lies below symlinks that lead round in a circle")
                if node.symlink.startswith("/"):
                    trail.clear()
                left += reversed(node.symlink.split("/"))
        return [name for name, _ in trail]
