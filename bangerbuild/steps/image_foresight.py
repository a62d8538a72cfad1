"""What an image is known to fail at before it is made, as far as its source is here and cheap to look at.

Content that can't be unpacked in no time is not looked at: what it fails at shows when it is built.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from bangerbuild.disk import tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.overlay import INIT
from bangerbuild.formats.totals import allocated_bytes
from bangerbuild.guest import overlay_init
from bangerbuild.guest.paths import normal
from bangerbuild.host import observed
from bangerbuild.sources.source import EntryTree
from bangerbuild.steps import image_source, image_tree, views
from bangerbuild.steps.capacity import Room
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import View
    from bangerbuild.sources.source import DiskImage, ImageSource
    from bangerbuild.steps.image_content import Adapt
    from bangerbuild.steps.image_files import Files

_MOST_LINKS = 40


def foresee(source: ImageSource, view: View, adapt: Adapt, files: Files) -> None:
    """Look at what an image will be made of.

    Raises:
        SourceError, FilesystemError: the image is known to fail so.
    """
    content = source.foreseen(view)
    if content is None:
        return
    with observed.unrecorded():
        if isinstance(content.data, EntryTree):
            _look_at_tree(content.data, adapt, files)
        else:
            _look_at_filesystem(content.data, view, files)


def _look_at_filesystem(image: DiskImage, view: View, files: Files) -> None:
    image_source.looked_at(image, view.epoch)
    if _asks_for_init(files):
        with RawFile(image.path) as blocks, Filesystem(blocks) as disk:
            image_view = views.ImageView(disk)
            _check_init(image_view.mode, files, image.written)


def _look_at_tree(tree: EntryTree, adapt: Adapt, files: Files) -> None:
    """Go through the entries once, which tells of damage too."""
    found, gone_by = _Tree(), 0
    with tree.entries() as entries:
        for entry in adapt(entries):
            found.add(entry)
            gone_by += entry.size_bytes
            if tree.glance_bytes is not None and gone_by > tree.glance_bytes:
                return
    if tree.size_bytes is not None:
        Room(tree.size_bytes, is_empty=True).check(
            found.needed_bytes, f"'{tree.written}'", image_tree.SIZE_HINT
        )
    if _asks_for_init(files):
        _check_init(found.mode, files, tree.written)


def _asks_for_init(files: Files) -> bool:
    """Whether the image gets the init of overlay roots, and that can be judged without the host's trees."""
    return files.overlay_init and not files.file_syncs


def _check_init(mode: Callable[[str], int | None], files: Files, written: str) -> None:
    own = {normal(file.guest): file.mode for file in files.files}
    overlay_init.edits(INIT, cast("GuestView", _Modes(mode, own)), written)


@dataclass(frozen=True)
class _Modes:
    """As much of a guest as is asked for here."""

    of: Callable[[str], int | None]
    own: Mapping[str, int]

    def mode(self, path: str) -> int | None:
        return self.own[path] if path in self.own else self.of(path)

    def exists(self, path: str) -> bool:
        return self.mode(path) is not None


@dataclass
class _Tree:
    """The entries of a tree by their paths; of one that is there twice the last counts."""

    entries: dict[str, Entry] = field(default_factory=dict)
    parents: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        self.entries[entry.path] = entry
        parent = posixpath.dirname(entry.path)
        while parent and parent not in self.parents:
            self.parents.add(parent)
            parent = posixpath.dirname(parent)

    @property
    def needed_bytes(self) -> int:
        """Of content and directories alone, which nothing can be without."""
        directories = {path for path, one in self.entries.items() if one.type is EntryType.DIRECTORY}
        content = sum(map(allocated_bytes, self.entries.values()))
        return content + len((directories | self.parents) - {""}) * tools.BLOCK_BYTES

    def mode(self, path: str) -> int | None:
        found = self._followed(path)
        if found is not None:
            return found.mode
        return 0o755 if path.strip("/") in self.parents else None

    def _followed(self, path: str, links: int = _MOST_LINKS) -> Entry | None:
        """What is at a path, symlinks followed inside of the tree."""
        left, at = path.strip("/").split("/"), ""
        while left and links:
            at = posixpath.normpath(posixpath.join("/", at, left.pop(0))).strip("/")
            entry = self.entries.get(at)
            if entry is not None and entry.type is EntryType.SYMLINK:
                links -= 1
                at = "" if entry.target.startswith("/") else posixpath.dirname(at)
                left = [*entry.target.strip("/").split("/"), *left]
        found = self.entries.get(at) if links else None
        if found is not None and found.type is EntryType.HARD_LINK:
            return self.entries.get(found.target.strip("/"))
        return found
