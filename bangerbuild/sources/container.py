"""What all container images share, wherever they lie: a tree of merged layers, and a program to run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.layers import merge_layers
from bangerbuild.sources.entrypoint import entrypoint as entrypoint_edits
from bangerbuild.sources.source import Content, EntryTree, ImageSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.formats.oci.layout import OciImage
    from bangerbuild.formats.oci.layout_files import OciLayout
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.host.process import Program
    from bangerbuild.model import Json
    from bangerbuild.sources.source import SourceTable

KEYS = ("platform", "entrypoint", "max_size")


class OciSource(ImageSource, Protocol):
    """A container image behind one of the transports."""

    @property
    def max_size_bytes(self) -> int | None:
        """What it may unpack to; None: what is usual."""

    @property
    def entrypoint(self) -> str | None:
        """Where a script is written that runs the image's program."""


class OciTransport(Protocol):
    """The sources of one transport."""

    programs: ClassVar[tuple[Program, ...]]
    """What they need of the host."""

    @classmethod
    def named(
        cls, named: Reference, platform: str | None, entrypoint: str | None, table: SourceTable
    ) -> OciSource:
        """The source of a reference with this transport."""


def merged_content(source: OciSource, layout: OciLayout, image: OciImage) -> Content:
    """The tree of an image's layers, and what its configuration says, for as long as the layout is open."""
    limits = UnpackLimits(source.max_size_bytes)
    merged = merge_layers(layout, image, written=source.written, limits=limits)
    tree = EntryTree(source.written, source.size_bytes, lambda: closing(merged.entries()))
    facts: Mapping[str, Json] = {"config": cast("Json", asdict(image.config))}
    if source.entrypoint is None:
        return Content(tree, facts)
    path, config, written = source.entrypoint, image.config, source.written
    return Content(tree, facts, lambda root: entrypoint_edits(path, config, root, written))
