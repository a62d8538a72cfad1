"""`oci = "oci:DIR:TAG"`: a container image in a layout that is a directory of the host.

The tag is looked up in every run, and must stand for what the lock file says.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.digests import pin_digest
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import parse_reference
from bangerbuild.model import NO_RECIPE, HostPath, Pin
from bangerbuild.sources import container
from bangerbuild.sources.oci_registry import NamedImage
from bangerbuild.sources.source import Resolution

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

    resolution: ClassVar[Resolution] = Resolution.ASKED
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
        return Pin(pin_digest(self._image(wanted).digest, self.written), str(wanted))

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        pin, platform = self.platform_pin(context)
        image = self._image(platform)
        if pin_digest(image.digest, self.written) != pin.digest:
            raise SourceError(f"'{self.written}' changed while it was read", hint="run it again")
        yield container.merged_content(self, DirectoryLayout(self.layout.path), image)

    def _image(self, platform: Platform) -> OciImage:
        tag = parse_reference(self.reference).tag
        return resolve(DirectoryLayout(self.layout.path), tag, platform, written=self.written)
