"""What an image amounts to: by our stream, and by a directory that another tool has unpacked it into."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.layers import open_layers
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import Platform
from bangerbuild.tree import TYPES, Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.formats.oci.layout import OciImage
    from bangerbuild.sources.oci_archive import OciArchiveSource

AMD64 = Platform("linux", "amd64")


@dataclass(frozen=True)
class Node:
    """All that a tree keeps of a name."""

    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    target: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]
    content: str
    """A digest; empty for what has none."""
    names: tuple[str, ...]
    """All of it, where there are several."""


def resolved(layout: Path, tag: str | None = None, platform: Platform = AMD64) -> OciImage:
    """The image of a layout, under the name that messages have for it in these tests."""
    return resolve(DirectoryLayout(layout), tag, platform, written="oci:image")


def refusal(layout: Path, tag: str | None = None, platform: Platform = AMD64) -> SourceError:
    """The error of a layout that has no such image, or of which it can't be had."""
    with pytest.raises(SourceError) as caught:
        resolved(layout, tag, platform)
    assert "oci:image" in caught.value.brief
    assert "\n" not in caught.value.brief
    return caught.value


def read_layers(
    layout: Path, tag: str | None = None, limits: UnpackLimits | None = None
) -> list[tuple[Entry, bytes]]:
    """Every entry of the merged tree, and what its content yields."""
    more = {} if limits is None else {"limits": limits}
    with open_layers(DirectoryLayout(layout), resolved(layout, tag), written="oci:image", **more) as entries:
        return _read(entries)


def streamed(layout: Path, tag: str | None = None) -> dict[str, Node]:
    """The merged tree by its paths."""
    return _nodes(read_layers(layout, tag))


def archived(source: OciArchiveSource) -> dict[str, Node]:
    """The merged tree of an archive by its paths."""
    with source.image() as (layout, image):
        limits = UnpackLimits(source.max_size_bytes)
        with open_layers(layout, image, written=source.written, limits=limits) as entries:
            return _nodes(_read(entries))


def _read(entries: Iterator[Entry]) -> list[tuple[Entry, bytes]]:
    return [(entry, entry.content.read() if entry.content else b"") for entry in entries]


def _nodes(entries: list[tuple[Entry, bytes]]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    names: dict[str, list[str]] = {}
    for entry, data in entries:
        assert entry.path not in found, "a name that comes twice"
        if entry.type is EntryType.HARD_LINK:
            names.setdefault(entry.target, [entry.target]).append(entry.path)
            found[entry.path] = found[entry.target]
            continue
        content = hashlib.sha256(_whole(entry, data)).hexdigest() if entry.type is EntryType.FILE else ""
        found[entry.path] = Node(
            entry.type,
            0o777 if entry.type is EntryType.SYMLINK else entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime_ns,
            entry.target,
            entry.device,
            tuple(sorted(entry.xattrs.items())),
            content,
            (),
        )
    groups = {path: tuple(sorted(group)) for group in names.values() for path in group}
    return {path: _with_names(node, groups.get(path, ())) for path, node in found.items()}


def unpacked(top: Path) -> dict[str, Node]:
    """A directory by its paths, the top's own attributes under the empty one."""
    groups: dict[tuple[int, int], list[str]] = {}
    found: dict[str, tuple[os.stat_result, Node]] = {}
    for path in [top, *top.rglob("*")]:
        name = str(path.relative_to(top)).removeprefix(".") if path == top else str(path.relative_to(top))
        seen = path.lstat()
        found[name] = seen, _node(path, seen)
        if not stat.S_ISDIR(seen.st_mode):
            groups.setdefault((seen.st_dev, seen.st_ino), []).append(name)
    return {
        name: _with_names(node, tuple(sorted(group)))
        if len(group := groups.get((seen.st_dev, seen.st_ino), [])) > 1
        else node
        for name, (seen, node) in found.items()
    }


def _node(path: Path, seen: os.stat_result) -> Node:
    type_ = TYPES[stat.S_IFMT(seen.st_mode)]
    is_device = type_ in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}
    return Node(
        type_,
        stat.S_IMODE(seen.st_mode),
        seen.st_uid,
        seen.st_gid,
        seen.st_mtime_ns,
        os.readlink(path) if type_ is EntryType.SYMLINK else "",  # noqa: PTH115 - a Path drops a slash at the end
        (os.major(seen.st_rdev), os.minor(seen.st_rdev)) if is_device else (0, 0),
        tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(_xattrs(path))),
        hashlib.sha256(path.read_bytes()).hexdigest() if type_ is EntryType.FILE else "",
        (),
    )


def _xattrs(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _with_names(node: Node, names: tuple[str, ...]) -> Node:
    return Node(**{**{name: getattr(node, name) for name in Node.__dataclass_fields__}, "names": names})


def _whole(entry: Entry, data: bytes) -> bytes:
    """With its holes as zeros."""
    if entry.data_extents is None:
        return data
    whole = bytearray(entry.size_bytes)
    at = 0
    for offset, length in entry.data_extents:
        whole[offset : offset + length] = data[at : at + length]
        at += length
    return bytes(whole)
