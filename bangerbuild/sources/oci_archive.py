"""`oci = "oci-archive:FILE"` or `"docker-archive:FILE"`: a container image in a tarball of the host.

It is read where it lies: nothing is copied to the cache, and skopeo is not needed. The tarball's own digest
counts in the recipe, so there is nothing to be asked.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci import docker_archive
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import open_tarball
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import DOCKER_ARCHIVE, OCI_ARCHIVE
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources import container
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.formats.oci.layout import OciImage
    from bangerbuild.formats.oci.layout_files import OciLayout, TarLayout
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.sources.source import Content, OpenContext, SourceTable


@dataclass(frozen=True)
class OciArchiveSource(DeclaredSize, Independent, HostFile, container.OciSource, container.OciTransport):
    """An image in an archive: the file's content, the tag and the platform count."""

    word: ClassVar[str] = "oci"
    keys: ClassVar[tuple[str, ...]] = container.KEYS

    transport: str
    """`oci-archive` or `docker-archive`."""
    tag: str | None
    platform: str
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    entrypoint: str | None = None
    """Where a script is written that runs the image's program."""

    @classmethod
    @override
    def named(
        cls, named: Reference, platform: str | None, entrypoint: str | None, table: SourceTable
    ) -> Self:
        return cls(
            table.file("oci", named.name),
            named.transport,
            named.tag,
            platform or str(host_platform()),
            table.size("size"),
            table.size("max_size"),
            entrypoint,
        )

    @property
    @override
    def written(self) -> str:
        return f"{self.transport}:{self.path.written}" + (f":{self.tag}" if self.tag else "")

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:  # it lies on this host
        with self.image() as (layout, image):
            yield container.merged_content(self, layout, image)

    @contextmanager
    def image(self) -> Iterator[tuple[OciLayout, OciImage]]:
        """The image, and the layout that has its blobs for as long as this is open."""
        limits = UnpackLimits(self.max_size_bytes)
        with open_tarball(self.path.path, written=self.written, limits=limits) as archive:
            yield _FINDERS[self.transport](self, archive)


def _in_oci_archive(source: OciArchiveSource, archive: TarLayout) -> tuple[OciLayout, OciImage]:
    platform = parse_platform(source.platform)
    return archive, resolve(archive, source.tag, platform, written=source.written)


def _in_docker_archive(source: OciArchiveSource, archive: TarLayout) -> tuple[OciLayout, OciImage]:
    platform = parse_platform(source.platform)
    found = docker_archive.resolve(archive, source.tag, platform, written=source.written)
    return found.layout, found.image


_FINDERS: dict[str, Callable[[OciArchiveSource, TarLayout], tuple[OciLayout, OciImage]]] = {
    OCI_ARCHIVE: _in_oci_archive,
    DOCKER_ARCHIVE: _in_docker_archive,
}
