"""`oci = "docker://NAME:TAG"`: a container image in a registry, kept blob by blob in the user's cache."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import parse_reference
from bangerbuild.host.process import Program
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources import container, container_registry
from bangerbuild.sources.bases import DeclaredSize, Elsewhere, Independent
from bangerbuild.sources.entrypoint import FORMAT as SCRIPT_FORMAT
from bangerbuild.sources.source import required_pin, users_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.formats.oci.platforms import Platform
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.model import Pin
    from bangerbuild.sources.source import AskContext, Content, LockWords, OpenContext, SourceTable


@dataclass(frozen=True, kw_only=True)
class NamedImage(DeclaredSize, Independent, Elsewhere, container.OciSource):
    """A container image that is named by a tag, and pinned to its manifest's digest and a platform."""

    word: ClassVar[str] = "oci"
    keys: ClassVar[tuple[str, ...]] = container.KEYS
    own_pin: ClassVar[Pin | None] = None

    reference: str = field(metadata=NO_RECIPE)
    platform: str | None = field(default=None, metadata=NO_RECIPE)
    """As the manifest asks for it; None: what this host runs, or what the lock file has."""
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    entrypoint: str | None = None
    """Where a script is written that runs the image's program."""
    script_format: tuple[int, ...] = field(default=(), init=False, metadata={"key": "entrypoint.format"})

    def __post_init__(self) -> None:
        """Another script makes another image, but only where there is one."""
        if self.entrypoint is not None:
            object.__setattr__(self, "script_format", (SCRIPT_FORMAT,))

    @property
    @override
    def written(self) -> str:
        return self.reference

    @property
    @override
    def lock_words(self) -> LockWords | None:
        return {"oci": self.reference, **({"platform": self.platform} if self.platform else {})}

    def platform_pin(self, context: OpenContext) -> tuple[Pin, Platform]:
        """What the source is pinned to, and for which platform; SourceError if that is not known."""
        pin = required_pin(context, self.written)
        if pin.platform is None:
            raise SourceError(f"'{self.written}' was never asked what it stands for")
        return pin, parse_platform(pin.platform)


@dataclass(frozen=True, kw_only=True)
class OciRegistrySource(NamedImage, container.OciTransport):
    """An image that skopeo asks a registry for."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("skopeo", "brings container images of registries, and built ones of [cache]"),
    )

    @classmethod
    @override
    def named(
        cls,
        named: Reference,  # it is parsed again where it is used
        platform: str | None,
        entrypoint: str | None,
        table: SourceTable,
    ) -> Self:
        return cls(
            reference=table.get("oci"),
            platform=platform,
            size_bytes=table.size("size"),
            max_size_bytes=table.size("max_size"),
            entrypoint=entrypoint,
        )

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """For the platform that it stood for before, if the manifest names none."""
        named = self.platform or (before.platform if before else None)
        wanted = parse_platform(named) if named else host_platform()
        return container_registry.ask(parse_reference(self.reference), wanted, context)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        pin, platform = self.platform_pin(context)
        reference = parse_reference(self.reference)
        with (
            users_cache() as cache,
            container_registry.layout(reference, pin, cache, context, self.max_size_bytes) as path,
        ):
            layout = DirectoryLayout(path)
            image = resolve(layout, None, platform, written=self.written)
            yield container.merged_content(self, layout, image)
