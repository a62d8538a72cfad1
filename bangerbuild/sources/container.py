"""Container images as layouts: of a registry, in a directory, or in an archive, read where it lies."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.declared import OciArchiveSource, OciSource, Pin
from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci import docker_archive
from bangerbuild.formats.oci.layout import OciImage, resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout, OciLayout, open_tarball
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import OCI_ARCHIVE, parse_reference
from bangerbuild.sources import registry
from bangerbuild.sources.means import users_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.means import Means


@dataclass(frozen=True)
class ContainerImage:
    """An image, and the layout that has its blobs for as long as it is open."""

    layout: OciLayout
    image: OciImage


@contextmanager
def opened(source: OciSource, means: Means) -> Iterator[ContainerImage]:
    """The image that a source is pinned to.

    Raises:
        SourceError: it can't be had, or is not what it was pinned to.
        OfflineError, CacheError: of a registry's, what is missing may not be fetched, or can't be kept.
    """
    pin = source.pin
    if pin is None or pin.platform is None:
        raise SourceError(f"'{source.written}' was never asked what it stands for")
    platform, reference = parse_platform(pin.platform), parse_reference(source.reference)
    if source.layout is not None:
        directory = DirectoryLayout(source.layout.path)
        image = resolve(directory, reference.tag, platform, written=source.written)
        if registry.pin_digest(image.digest, source.written) != pin.digest:
            raise SourceError(f"'{source.written}' changed while it was read", hint="run it again")
        yield ContainerImage(directory, image)
        return
    with users_cache() as cache, registry.layout(reference, pin, cache, means) as path:
        layout = DirectoryLayout(path)
        yield ContainerImage(layout, resolve(layout, None, platform, written=source.written))


@contextmanager
def archived(source: OciArchiveSource) -> Iterator[ContainerImage]:
    """The image in an archive, without a copy of anything.

    Raises:
        SourceError: the archive can't be read, or has no such image.
    """
    platform, written = parse_platform(source.platform), source.written
    limits = UnpackLimits(source.max_size_bytes)
    with open_tarball(source.path.path, written=written, limits=limits) as archive:
        if source.transport == OCI_ARCHIVE:
            yield ContainerImage(archive, resolve(archive, source.tag, platform, written=written))
        else:
            found = docker_archive.resolve(archive, source.tag, platform, written=written)
            yield ContainerImage(found.layout, found.image)


def ask(source: OciSource, before: Pin | None, means: Means) -> Pin:
    """What a source stands for today, for the platform that it stood for before if the manifest names none.

    Raises:
        SourceError: there is no such image.
        OfflineError: only its registry knows.
    """
    reference = parse_reference(source.reference)
    named = source.platform or (before.platform if before else None)
    wanted = parse_platform(named) if named else host_platform()
    if source.layout is None:
        return registry.ask(reference, wanted, means)
    image = resolve(DirectoryLayout(source.layout.path), reference.tag, wanted, written=source.written)
    return Pin(registry.pin_digest(image.digest, source.written), str(wanted))
