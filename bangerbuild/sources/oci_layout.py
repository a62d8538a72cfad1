"""`oci = "oci:DIR:TAG"`: a container image in a layout that is a directory of the host.

Its tag is pinned as a registry's is: the image that the lock file has is built for as long as the layout
holds its blobs, whatever the tag stands for by then.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.oci.digests import SHA256, pin_digest
from bangerbuild.formats.oci.layout import resolve, resolve_digest
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import parse_reference
from bangerbuild.host import observed
from bangerbuild.model import NO_RECIPE, HostPath, Pin
from bangerbuild.sources import container
from bangerbuild.sources.oci_registry import NamedImage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.formats.oci.layout import OciImage
    from bangerbuild.formats.oci.platforms import Platform
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.host.process import Program
    from bangerbuild.sources.source import AskContext, Content, OpenContext, SourceTable


@dataclass(frozen=True, kw_only=True)
class OciLayoutSource(NamedImage, container.OciTransport):
    """An image in a layout: its manifest's digest says what it is."""

    programs: ClassVar[tuple[Program, ...]] = ()

    layout: HostPath = field(metadata=NO_RECIPE)
    """The directory."""

    @classmethod
    @override
    def named(
        cls,
        named: Reference,
        platform: str | None,
        entrypoint: str | None,
        table: SourceTable,
    ) -> Self:
        return cls(
            layout=table.directory("oci", named.name),
            reference=table.get("oci"),
            platform=platform,
            size_bytes=table.size("size"),
            max_size_bytes=table.size("max_size"),
            entrypoint=entrypoint,
        )

    @property
    @override
    def host_paths(self) -> tuple[Path, ...]:  # type: ignore[override]
        return (self.layout.path,)

    @property
    @override
    def host_trees(self) -> tuple[Path, ...]:  # type: ignore[override]
        return (self.layout.path,)

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:  # the layout answers
        """For the platform that it stood for before, if the manifest names none."""
        named = self.platform or (before.platform if before else None)
        wanted = parse_platform(named) if named else host_platform()
        tag = parse_reference(self.reference).tag
        image = resolve(self._files, tag, wanted, written=self.written)
        return Pin(pin_digest(image.digest, self.written), str(wanted))

    @override
    def notes(self, pin: Pin | None) -> tuple[str, ...]:
        """None; but the layout may have lost what the lock file has."""
        if pin is not None and pin.platform is not None:
            with observed.unrecorded():
                self._image(pin, parse_platform(pin.platform))
        return ()

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        image = self._image(*self.platform_pin(context))
        yield container.merged_content(self, self._files, image)

    def _image(self, pin: Pin, platform: Platform) -> OciImage:
        return resolve_digest(self._files, SHA256 + pin.digest, platform, written=self.written)

    @property
    def _files(self) -> DirectoryLayout:
        return DirectoryLayout(self.layout.path)
