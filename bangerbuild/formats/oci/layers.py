"""The layers of an image, merged into one stream of tree entries like that of a tarball.

The layers are read twice, and nothing is unpacked to disk. The first pass verifies each blob and merges the
names of its entries with those of the layers below. The second pass reads the layers again and yields the
entries whose names survive.
"""

from __future__ import annotations

import hashlib
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.archive import DEFAULT_LIMITS, read_entries
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import changed
from bangerbuild.formats.limits import Budget
from bangerbuild.formats.oci.blobs import algorithm_of, blob_name, digest_of, open_blob
from bangerbuild.formats.oci.layout import layer_name
from bangerbuild.formats.oci.layout_files import DAMAGED_HINT
from bangerbuild.formats.oci.merge import Merge
from bangerbuild.formats.oci.surviving import SurvivingPaths
from bangerbuild.formats.tarstream import TarStream
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO

    from bangerbuild.formats.digest import StatKey
    from bangerbuild.formats.limits import UnpackLimits
    from bangerbuild.formats.oci.layout import Layer, OciImage
    from bangerbuild.formats.oci.layout_files import OciLayout

_UNFIT_HINT = "build the image again; or unpack it with another tool, and name that with `directory = …`"


@contextmanager
def open_layers(
    layout: OciLayout, image: OciImage, *, written: str, limits: UnpackLimits = DEFAULT_LIMITS
) -> Iterator[Iterator[Entry]]:
    """The entries of an image's tree: each name once, a file before the hard links to it.

    Parents may come later. A parent without an entry of its own is omitted unless it is empty.

    Raises:
        SourceError: as `merge_layers`; while iterating: a layer changed since the first pass.
    """
    with closing(merge_layers(layout, image, written=written, limits=limits).entries()) as entries:
        yield entries


def merge_layers(
    layout: OciLayout, image: OciImage, *, written: str, limits: UnpackLimits = DEFAULT_LIMITS
) -> MergedLayers:
    """Read all layers once, verify their digests, and compute which entries of each survive.

    Args:
        layout: has the blobs.
        image: as `layout.resolve` gives it.
        written: the image's name in messages.
        limits: how much all layers together may unpack to.

    Raises:
        SourceError: a layer does not match its digest, is no tarball or damaged, unpacks to more than
            `limits` allow, or holds an entry that can't be merged.
    """
    budget = Budget(limits, _source_bytes(layout, image), written)
    merge = Merge()
    seen = []
    for number, layer in enumerate(image.layers, 1):
        name = layer_name(written, number, len(image.layers))
        with open_blob(layout, layer.blob, name) as opened:
            seen.append(opened.seen)
            _apply(merge, opened.file, layer, name, budget)
    surviving = tuple(SurvivingPaths() for _ in image.layers)
    empty = []
    for origin, path in merge.survivors():
        if origin is None:
            empty.append(path)
        else:
            surviving[origin.layer].add(origin.member, path, is_own=origin.is_own)
    return MergedLayers(layout, image, written, tuple(seen), surviving, tuple(empty))


def _source_bytes(layout: OciLayout, image: OciImage) -> int:
    """The size of the layers before they are unpacked; a repeated layer counts once."""
    blobs_bytes = sum({layer.blob.digest: layer.blob.size_bytes for layer in image.layers}.values())
    return blobs_bytes if layout.packed_bytes is None else min(blobs_bytes, layout.packed_bytes)


def _apply(merge: Merge, file: BinaryIO, layer: Layer, written: str, budget: Budget) -> None:
    """The first pass over one layer: merge its names and verify its digest."""
    digest = hashlib.new(algorithm_of(layer.diff_id))
    stream = TarStream(file, written, budget=budget, digest=digest, is_whole=True)
    try:
        _put_all(merge, read_entries(stream), written)
    except SourceError as err:
        err.hint = err.hint or _UNFIT_HINT
        raise
    if stream.compression:
        found = f"{digest.name}:{digest.hexdigest()}"
    elif algorithm_of(layer.blob.digest) == digest.name:
        found = layer.blob.digest  # the blob is the tarball
    else:
        found = digest_of(file, digest.name, written)
    if found != layer.diff_id:
        raise SourceError(
            f"'{written}' unpacks to what has the digest '{found}', not '{layer.diff_id}'", hint=DAMAGED_HINT
        )


def _put_all(merge: Merge, entries: Iterator[Entry], written: str) -> None:
    merge.next_layer()
    for entry in entries:
        try:
            merge.put(entry)
        except FormatError as err:
            raise SourceError(f"'{written}': '{entry.path}' {err.brief}") from err


@dataclass(frozen=True)
class MergedLayers:
    """The result of the first pass. `entries` can be called more than once."""

    layout: OciLayout
    image: OciImage
    written: str
    seen: tuple[StatKey, ...]
    """The stat keys of the blobs when they were verified."""
    surviving: tuple[SurvivingPaths, ...]
    """For each layer: the paths that its members have in the merged tree."""
    empty: tuple[str, ...]
    """Empty directories that have no entry in any layer."""

    def entries(self) -> Generator[Entry]:
        """The entries, as in `open_layers`; SourceError if a layer changed since the first pass."""
        for path in self.empty:
            yield Entry(path, EntryType.DIRECTORY)
        for number, layer in enumerate(self.image.layers, 1):
            if self.surviving[number - 1].count:
                yield from self._entries_of(layer, number)

    def _entries_of(self, layer: Layer, number: int) -> Iterator[Entry]:
        written = layer_name(self.written, number, len(self.image.layers))
        paths_of = self.surviving[number - 1]
        pending = paths_of.count
        with self.layout.open_file(blob_name(layer.blob.digest), written) as opened:
            if opened.seen != self.seen[number - 1]:
                raise changed(written)
            for member, entry in enumerate(read_entries(TarStream(opened.file, written, is_whole=True))):
                if paths := paths_of.paths(member, entry.path):
                    yield from _named(entry, paths)
                    pending -= 1
                if not pending:
                    return


def _named(entry: Entry, paths: Sequence[str]) -> Iterator[Entry]:
    """The entry under its first path, and hard links for its other paths."""
    first, *others = paths
    yield entry if entry.path == first else replace(entry, path=first)
    for other in others:
        yield replace(
            entry,
            path=other,
            type=EntryType.HARD_LINK,
            size_bytes=0,
            target=first,
            device=(0, 0),
            xattrs={},
            content=None,
            data_extents=None,
        )
