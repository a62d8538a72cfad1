"""A built image in the cache: found by what it was built from, else built.

The builder is given the Dockerfile with its images by their digests, and the context as it was walked here.
The images lie in the cache as those of registries do, and are handed over as layouts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import OfflineError, SourceError
from bangerbuild.fetch import answers, image_builders, layouts
from bangerbuild.fetch.image_builders import BUILDERS, Build
from bangerbuild.formats.digest import tree_digest
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.dockerfile import Dockerfile
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci import docker_archive
from bangerbuild.formats.oci.digests import SHA256
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import open_tarball
from bangerbuild.formats.oci.platforms import parse_platform
from bangerbuild.formats.oci.reference import OCI_ARCHIVE, parse_name
from bangerbuild.model import Pin
from bangerbuild.sources import container_registry
from bangerbuild.sources.source import users_cache
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache
    from bangerbuild.fetch.image_builders import Builder
    from bangerbuild.formats.dockerfile import Base
    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.oci.layout import OciImage
    from bangerbuild.formats.oci.layout_files import OciLayout
    from bangerbuild.model import HostPath
    from bangerbuild.sources.source import OpenContext
    from bangerbuild.tree import Entry

FORMAT = 2
_DIGEST = re.compile("[0-9a-f]{64}")


class BuildSource(Protocol):
    """What is built."""

    @property
    def written(self) -> str:
        """What messages call it."""

    @property
    def context(self) -> HostPath:
        """The directory that is handed to the builder."""

    @property
    def rules(self) -> TreeRules:
        """What of it."""

    @property
    def file(self) -> HostPath:
        """The Dockerfile."""

    @property
    def target(self) -> str | None:
        """The stage that is built; None: the last one."""

    @property
    def args(self) -> tuple[tuple[str, str], ...]:
        """Names and values of the arguments."""

    @property
    def builder(self) -> str | None:
        """The program that builds; None: the first that is installed."""

    @property
    def max_size_bytes(self) -> int | None:
        """What it may unpack to; None: what is usual."""


@contextmanager
def opened(
    source: BuildSource, digests: Mapping[Base, str], platform: str, context: OpenContext
) -> Iterator[tuple[OciLayout, OciImage]]:
    """The built image, and the archive that has its blobs for as long as this is open.

    Raises:
        FetchError: the build failed; an OfflineError if it would have to be built.
        SourceError, ToolError, CacheError: something that it takes can't be had.
    """
    with users_cache() as cache:
        building = _Building(source, digests, platform, context, cache)
        blob, transport = building.image()
        limits = UnpackLimits(source.max_size_bytes)
        with open_tarball(blob.path, written=source.written, limits=limits) as archive:
            wanted = parse_platform(platform)
            if transport == OCI_ARCHIVE:
                yield archive, resolve(archive, None, wanted, written=source.written)
            else:
                found = docker_archive.resolve(archive, None, wanted, written=source.written)
                yield found.layout, found.image


class _Building:
    def __init__(
        self,
        source: BuildSource,
        digests: Mapping[Base, str],
        platform: str,
        context: OpenContext,
        cache: Cache,
    ) -> None:
        self._source = source
        self._digests = digests
        self._platform = platform
        self._context = context
        self._cache = cache
        self._rules = source.rules.without(source.context.path, context.path("").absolute())
        """The store may lie in the context; it is never a part of it."""
        self._text = source.file.path.read_text(errors="surrogateescape")
        self._key = self._key_of()

    def _key_of(self) -> str:
        source = self._source
        tree = tree_digest(source.context.path, self._rules, written=source.context.written)
        file = hashlib.sha256(self._text.encode(errors="surrogateescape")).hexdigest()
        pins = [[str(base), digest] for base, digest in self._digests.items()]
        words = [FORMAT, file, tree, source.target, source.args, self._platform, pins, self._context.epoch]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()

    def image(self) -> tuple[Blob, str]:
        """The archive and its transport."""
        if found := self._recorded():
            return found
        if self._context.offline:
            raise OfflineError(
                f"'{self._source.written}' is not built yet, and --offline lets no builder fetch anything",
                hint="run it once without --offline",
            )
        builder = image_builders.chosen(self._source.builder)
        self._context.progress(self._source.written, 0, None)
        with self._cache.draft(self._key) as draft:
            if found := self._recorded():
                return found  # another process built it while this one waited
            draft.discard()
            with layouts.directory(self._cache) as place:
                archive = self._built(builder, place)
                with archive.open("rb") as file:
                    shutil.copyfileobj(file, draft.file, 1 << 20)
            blob = draft.publish(draft.digest())
        self._record(blob, builder.transport)
        self._context.progress(self._source.written, blob.size_bytes, blob.size_bytes)
        return blob, builder.transport

    def _built(self, builder: Builder, place: Path) -> Path:
        source = self._source
        wanted = Build(
            source.written,
            place,
            self._platform,
            source.target,
            dict(source.args),
            int(self._context.epoch),
            self._context.say,
        )
        _stage(source, self._rules, place / "context", int(self._context.epoch))
        with ExitStack() as stack:
            names = {base: self._name(builder, base, place, stack) for base in self._digests}
            parsed = Dockerfile(self._text, dict(source.args), source.file.written, source.target)
            (place / "Dockerfile").write_text(parsed.pinned(names), errors="surrogateescape")
            image_builders.build(builder, wanted)
        if not wanted.archive.is_file():
            raise SourceError(f"'{source.written}' was built by {builder.name}, which wrote no image")
        return wanted.archive

    def _name(self, builder: Builder, base: Base, place: Path, stack: ExitStack) -> str:
        """How a FROM names an image: builders make a name of a layout's path, so it is a short one."""
        digest = self._digests[base]
        reference = parse_name(base.name)
        if not builder.takes_layouts:
            return str(reference.pinned(SHA256 + digest)).removeprefix("docker://")
        pin = Pin(digest, base.platform or self._platform)
        layout = container_registry.layout(
            reference, pin, self._cache, self._context, self._source.max_size_bytes
        )
        link = place / f"base{list(self._digests).index(base)}"
        link.symlink_to(stack.enter_context(layout))
        return f"oci:{link.name}"

    def _recorded(self) -> tuple[Blob, str] | None:
        found = answers.read(self._record_path)
        digest, transport = found.get("digest", ""), found.get("transport", "")
        if not _DIGEST.fullmatch(digest):
            return None
        known = {builder.transport for builder in BUILDERS.values()}
        blob = self._cache.get(digest) if transport in known else None
        return (blob, transport) if blob else None

    def _record(self, blob: Blob, transport: str) -> None:
        answers.write(self._record_path, {"digest": blob.digest, "transport": transport})

    @property
    def _record_path(self) -> Path:
        return self._cache.urls / f"build-{self._key}.json"


def _stage(source: BuildSource, rules: TreeRules, target: Path, epoch: int) -> None:
    """Copy the context as it is walked; what is a hard link in it becomes a file of its own."""
    directories: list[tuple[Path, int]] = []
    for entry in walk_directory(source.context.path, rules, written=source.context.written):
        path = target / entry.path if entry.path else target
        if entry.type is EntryType.DIRECTORY:
            path.mkdir(mode=0o700)
            directories.append((path, entry.mode))
        elif entry.type is EntryType.SYMLINK:
            path.symlink_to(entry.target)
        else:
            _copy(source.context.path / entry.path, path, entry)
            path.chmod(entry.mode)
            os.utime(path, (epoch, epoch))
    for path, mode in reversed(directories):
        path.chmod(mode)
        os.utime(path, (epoch, epoch))


def _copy(original: Path, path: Path, entry: Entry) -> None:
    """The walk has the content of a file, unless that is another name of one or has holes."""
    is_plain = entry.content is not None and entry.data_extents is None
    with path.open("xb") as file:
        if is_plain and entry.content is not None:
            shutil.copyfileobj(entry.content, file, 1 << 20)
        else:
            with original.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
