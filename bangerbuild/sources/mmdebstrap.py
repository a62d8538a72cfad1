"""`mmdebstrap = { suite = … }`: a tarball that mmdebstrap makes of packages."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.errors import SourceError
from bangerbuild.fetch.mmdebstrap import Made, make
from bangerbuild.fetch.mmdebstrap_program import Suite, usable
from bangerbuild.host.process import Program
from bangerbuild.model import NO_RECIPE, Pin
from bangerbuild.sources.bases import DeclaredSize, Elsewhere, Independent
from bangerbuild.sources.files import FileContent
from bangerbuild.sources.source import FilesystemKind, required_pin, users_cache
from bangerbuild.sources.tar import TarSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.fetch.cache import Cache
    from bangerbuild.sources.source import (
        AskContext,
        Content,
        FetchContext,
        LockWords,
        OpenContext,
        SourceTable,
    )

_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~/-]*")
_PACKAGE = re.compile(r"[^\s,\0-][^\s,\0]*")


@dataclass(frozen=True)
class MmdebstrapSource(DeclaredSize, Independent, Elsewhere, FilesystemKind):
    """Packages of a Debian suite; what they were pinned to counts, not what was asked for."""

    word: ClassVar[str] = "mmdebstrap"
    keys: ClassVar[tuple[str, ...]] = ("max_size",)
    programs: ClassVar[tuple[Program, ...]] = (
        Program("mmdebstrap", "makes Debian root filesystems", usable),
    )
    own_pin: ClassVar[Pin | None] = None

    suite: str = field(metadata=NO_RECIPE)
    packages: tuple[str, ...] = field(default=(), metadata=NO_RECIPE)
    mirror: str | None = field(default=None, metadata=NO_RECIPE)
    arguments: tuple[str, ...] = field(default=(), metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        asked = table.sub("mmdebstrap")
        if "suite" not in asked:  # the schema has told so
            return None
        packages, arguments = asked.get("packages") or (), asked.get("arguments") or ()
        for index in range(len(packages)):
            asked.convert("packages", _package, index)
        for index in range(len(arguments)):
            asked.convert("arguments", _option, index)
        asked.convert("suite", _suite)
        asked.convert("mirror", _operand)
        return cls(
            asked.get("suite"),
            tuple(packages),
            asked.get("mirror"),
            tuple(arguments),
            table.size("size"),
            table.size("max_size"),
        )

    @classmethod
    @override
    def claims(cls, text: str) -> bool:  # a suite's name could be a file's
        return False

    @property
    @override
    def written(self) -> str:
        return f"mmdebstrap {self.suite}"

    @property
    @override
    def lock_words(self) -> LockWords | None:
        lists = {"packages": list(self.packages), "arguments": list(self.arguments)}
        mirror = {"mirror": self.mirror} if self.mirror else {}
        return {"mmdebstrap": self.suite, **{key: words for key, words in lists.items() if words}, **mirror}

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """What the mirror has today, as the tarball made of it (a minute).

        A pin that is asked for once more is to be renewed. Without one, what the last run was told will do
        for an hour: a `plan` keeps no pin.
        """
        with users_cache() as cache:
            made = self._made(None, cache, context, recent=before is None)
            return Pin(made.blob.digest, versions=made.versions)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        pin = required_pin(context, self.written)
        with users_cache() as cache:
            path = self._made(pin, cache, context).blob.path
            file = FileContent(path, self.written, self.size_bytes, self.max_size_bytes)
            with TarSource.open_file(file, context) as content:
                yield content

    def _made(self, pin: Pin | None, cache: Cache, context: FetchContext, *, recent: bool = False) -> Made:
        suite = Suite(self.suite, self.packages, self.mirror, self.arguments)
        if not context.offline and (pin is None or not cache.has(pin.digest)):
            context.progress(self.written, 0, None)
        made = make(
            suite,
            cache=cache,
            epoch=context.epoch,
            sha256=pin.digest if pin else None,
            versions=pin.versions if pin else None,
            recent=recent,
            offline=context.offline,
        )
        context.progress(self.written, made.blob.size_bytes, made.blob.size_bytes)
        return made


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise SourceError(f"'{text}' names no package", hint="give each package an entry of its own")
    return text


def _option(text: str) -> str:
    if not text.startswith("--"):
        raise SourceError(f"'{text}' is no option of mmdebstrap", hint="write it as one word: --NAME=VALUE")
    return text


def _suite(text: str) -> str:
    """Others see a suite's name in the list of processes, so no address may pass for one."""
    if _SUITE.fullmatch(_operand(text)) is None:
        raise SourceError(f"'{text}' is no name of a suite", hint='name one such as "bookworm"')
    return text


def _operand(text: str) -> str:
    if text.startswith("-"):
        raise SourceError(f"'{text}' begins with '-', which mmdebstrap takes for an option")
    return text
