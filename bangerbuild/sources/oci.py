"""`oci = "…"`: container images. The transport that a reference begins with says where an image lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.formats.oci import reference
from bangerbuild.formats.oci.platforms import parse_platform
from bangerbuild.sources import container
from bangerbuild.sources.oci_archive import OciArchiveSource
from bangerbuild.sources.oci_layout import OciLayoutSource
from bangerbuild.sources.oci_registry import OciRegistrySource
from bangerbuild.sources.source import FilesystemKind

if TYPE_CHECKING:
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.host.process import Program
    from bangerbuild.sources.container import OciSource, OciTransport
    from bangerbuild.sources.source import SourceTable

TRANSPORTS: dict[str, type[OciTransport]] = {
    reference.REGISTRY: OciRegistrySource,
    reference.LAYOUT: OciLayoutSource,
    reference.OCI_ARCHIVE: OciArchiveSource,
    reference.DOCKER_ARCHIVE: OciArchiveSource,
}


class OciKind(FilesystemKind):
    """The kind of them all."""

    word: ClassVar[str] = "oci"
    keys: ClassVar[tuple[str, ...]] = container.KEYS
    programs: ClassVar[tuple[Program, ...]] = tuple(
        dict.fromkeys(program for kind in TRANSPORTS.values() for program in kind.programs)
    )

    @classmethod
    @override
    def read(cls, table: SourceTable) -> OciSource | None:
        platform = table.convert("platform", _platform)
        entrypoint = table.guest_path("entrypoint")
        if "entrypoint" in table and table.key != "rootfs":
            table.problem("entrypoint", "'entrypoint' goes with a rootfs only: a work disk runs nothing")
        named: Reference | None = table.convert("oci", reference.parse_reference)
        if named is None:
            return None
        return TRANSPORTS[named.transport].named(named, platform, entrypoint, table)

    @classmethod
    @override
    def shown_word(cls, text: str) -> str:
        """A reference holds neither a password nor a query; what stands before its `@` is the name."""
        return text

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        return text.partition(":")[0] in TRANSPORTS


def _platform(text: str) -> str:
    return str(parse_platform(text))
