"""`url = "https://…"`: a file to be downloaded, whose form its content tells; for boot files too."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self
from urllib.parse import urlsplit

from typing_extensions import override

from bangerbuild.errors import BangerError, SourceError
from bangerbuild.fetch.download import download
from bangerbuild.identities import shown
from bangerbuild.model import NO_RECIPE, Pin
from bangerbuild.sources import disk_image, files
from bangerbuild.sources.bases import DeclaredSize, Elsewhere, Independent
from bangerbuild.sources.file_kinds import FILE_KINDS
from bangerbuild.sources.source import (
    BootContent,
    BootFileKind,
    BootSource,
    FilesystemKind,
    pinned_content,
    required_pin,
    users_cache,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache
    from bangerbuild.model import Source
    from bangerbuild.sources.files import FileKind
    from bangerbuild.sources.source import (
        AskContext,
        Content,
        FetchContext,
        FindBootFile,
        LockWords,
        OpenContext,
        SourceTable,
    )

_MOST_BOOT_BYTES = 4 << 30
_DISK = re.compile(r"\.(qcow2|img|raw|vmdk|vhdx?|vdi)(\.(gz|xz|zst|bz2))?$", re.IGNORECASE)
_UNTOLD = ("which partition is taken is told when it is fetched",)
_ADDRESS = re.compile("(?:https?|file)://")


@dataclass(frozen=True)
class _UrlFile(Elsewhere):
    word: ClassVar[str] = "url"

    url: str = field(metadata=NO_RECIPE)
    own_pin: Pin | None = field(default=None, metadata=NO_RECIPE)

    @property
    def most_bytes(self) -> int | None:
        """How large the download may be; None: as large as any may be."""
        return None

    @property
    @override
    def written(self) -> str:
        """Without what may be secret in an address."""
        return shown(self.url)

    @property
    @override
    def lock_words(self) -> LockWords | None:
        return {"url": self.url}

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:  # the server alone knows
        """It has to be fetched for that."""
        with users_cache() as cache:
            return Pin(_fetched(self, None, cache, context).digest)

    @contextmanager
    def fetched(self, context: OpenContext) -> Iterator[Blob]:
        """The file that this is pinned to; it stays in the cache as long as this is open."""
        digest = required_pin(context, self.written).digest
        with users_cache() as cache:
            yield _fetched(self, digest, cache, context)


@dataclass(frozen=True)
class UrlSource(DeclaredSize, Independent, _UrlFile, FilesystemKind):
    """A filesystem, or a tarball of one, to be downloaded."""

    keys: ClassVar[tuple[str, ...]] = ("sha256", "partition", "max_size")

    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    partition: str = field(default=disk_image.AUTO, metadata={"key": "partition", "unless": disk_image.AUTO})
    """Of a disk image."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        sizes = table.size("size"), table.size("max_size")
        return cls(table.get("url"), _declared_pin(table), *sizes, disk_image.partition(table))

    @property
    @override
    def most_bytes(self) -> int | None:
        return self.max_size_bytes

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        return _ADDRESS.match(text) is not None

    @override
    def notes(self, pin: Pin | None) -> tuple[str, ...]:
        """What is in the cache is looked at; of a disk that is not, its partition is told later."""
        with users_cache() as cache:
            if pin is None or not cache.has(pin.digest):
                return _UNTOLD if self._is_called_as_a_disk and self.partition == disk_image.AUTO else ()
            try:
                return self._notes_of(cache.blobs / pin.digest)
            except BangerError:
                if cache.get(pin.digest) is None:  # it was damaged, and will be fetched again
                    return ()
                raise

    def _notes_of(self, path: Path) -> tuple[str, ...]:
        return self._kind_of(path).notes_of(self._content(path))

    @property
    def _is_called_as_a_disk(self) -> bool:
        try:
            return _DISK.search(urlsplit(self.url).path) is not None
        except ValueError:  # it is no address, and whoever asks says so
            return False

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        with (
            self.fetched(context) as blob,
            self._kind_of(blob.path).open_file(self._content(blob.path), context) as content,
        ):
            yield content

    def _kind_of(self, path: Path) -> type[FileKind]:
        kind = files.kind_of(path, written=self.written, kinds=FILE_KINDS.values())
        if self.partition != disk_image.AUTO and "partition" not in kind.keys:
            raise SourceError(
                f"'{self.written}' is {kind.article}, which has no partitions",
                hint="leave out `partition`",
            )
        return kind

    def _content(self, path: Path) -> files.FileContent:
        return files.FileContent(path, self.written, self.size_bytes, self.max_size_bytes, self.partition)


@dataclass(frozen=True)
class UrlBootFile(_UrlFile, BootSource, BootFileKind):
    """A kernel or an initrd to be downloaded."""

    keys: ClassVar[tuple[str, ...]] = ("sha256", "max_size")

    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        return cls(table.get("url"), _declared_pin(table), table.size("max_size"))

    @property
    @override
    def most_bytes(self) -> int:
        return self.max_size_bytes or _MOST_BOOT_BYTES

    @override
    def inputs(self, image: str) -> tuple[str, ...]:
        return ()

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        """One role, wherever a boot file lies."""
        return pinned_content(role, self)

    @contextmanager
    @override
    def open(self, context: OpenContext, image: str, find: FindBootFile) -> Iterator[BootContent]:
        with self.fetched(context) as blob:
            yield BootContent(blob.path, self.written)


def _declared_pin(table: SourceTable) -> Pin | None:
    return Pin(str(table.get("sha256")).lower()) if "sha256" in table else None


def _fetched(source: _UrlFile, sha256: str | None, cache: Cache, context: FetchContext) -> Blob:
    def progress(done_bytes: int, total_bytes: int | None) -> None:
        context.progress(source.written, done_bytes, total_bytes)

    blob = download(
        source.url,
        sha256=sha256,
        cache=cache,
        progress=progress,
        offline=context.offline,
        max_bytes=source.most_bytes,
    )
    progress(blob.size_bytes, blob.size_bytes)  # not every server says when that is
    return blob
