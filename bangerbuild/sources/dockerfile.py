"""`dockerfile = "DIR"`: a container image that buildah, podman or docker builds of a Dockerfile.

What counts is the Dockerfile, the context as its .dockerignore leaves it, the arguments, and the digests of
the images that it starts from, which the lock file has. What was built lies in the cache under these.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.errors import FetchError, SourceError
from bangerbuild.fetch.cache import default_path
from bangerbuild.fetch.image_builders import PROGRAMS
from bangerbuild.formats.dockerfile import Dockerfile
from bangerbuild.formats.dockerignore import IgnoreRules, parse
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.formats.oci.reference import parse_name
from bangerbuild.host.home import expanded
from bangerbuild.model import NO_RECIPE, Pin, Source
from bangerbuild.sources import container, container_build, container_registry
from bangerbuild.sources.bases import DeclaredSize, Elsewhere, Independent
from bangerbuild.sources.source import FilesystemKind, required_pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.formats.dockerfile import Base
    from bangerbuild.host.process import Program
    from bangerbuild.model import HostPath
    from bangerbuild.sources.source import AskContext, Content, LockWords, OpenContext, SourceTable

_MOST_BYTES = 4 << 20
_ARGUMENT = re.compile("[A-Za-z_][A-Za-z0-9_]*")
FILE_NAME = "Dockerfile"
_ABSENT = "FROM scratch\n"
"""Stands for a Dockerfile that is not there, for who only looks over a manifest."""
_OURS = ("bangerbuild.lock", ".bangerbuild.lock.new")
"""What a run writes may not decide what the next one does: the lock file lies beside the manifest."""
IGNORE_FILES = (".containerignore", ".dockerignore")


@dataclass(frozen=True)
class DockerfileSource(DeclaredSize, Independent, Elsewhere, container.OciSource, FilesystemKind):
    """A build; the values of its arguments may be secret, so that only their digest is kept."""

    word: ClassVar[str] = "dockerfile"
    keys: ClassVar[tuple[str, ...]] = ("target", "args", "file", "builder", *container.KEYS)
    programs: ClassVar[tuple[Program, ...]] = PROGRAMS
    own_pin: ClassVar[Pin | None] = None

    context: HostPath
    file: HostPath
    bases: tuple[Base, ...] = field(metadata=NO_RECIPE)
    """The images that it starts from."""
    ignore: IgnoreRules = field(default=IgnoreRules(()), metadata=NO_RECIPE)
    target: str | None = None
    args: tuple[tuple[str, str], ...] = field(default=(), metadata={"digest": True})
    builder: str | None = field(default=None, metadata=NO_RECIPE)
    platform: str | None = field(default=None, metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    entrypoint: str | None = None
    """Where a script is written that runs the image's program."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        directory, name = _places(table.get("dockerfile"))
        context = table.directory("dockerfile", directory)
        if not context.written:  # it was told that it is not there
            return None
        file = table.file("dockerfile", f"{directory}/{table.get('file') or name}")
        if not file.written:
            return None
        is_there = file.path.exists()
        args, target = _arguments(table), table.get("target")
        found = table.convert("dockerfile", lambda _: _read_file(file, args, target, is_there=is_there))
        ignore = table.convert("dockerfile", lambda _: _ignore_rules(context.path))
        if found is None or ignore is None:
            return None
        if is_there and target is not None and target.lower() not in found.stages():
            known = ", ".join(found.stages()) or "none has a name"
            table.problem("target", f"no stage is called '{target}'", f"its stages: {known}")
        return cls(
            context,
            file,
            found.bases(),
            ignore,
            target,
            tuple(sorted(args.items())),
            table.get("builder"),
            table.convert("platform", lambda text: str(parse_platform(text))),
            table.size("size"),
            table.size("max_size"),
            table.guest_path("entrypoint"),
        )

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        """A file of that name; a directory is taken for a tree."""
        try:
            return text.rpartition("/")[2] == FILE_NAME and expanded(text).is_file()
        except (OSError, RuntimeError):  # it is told when the text is read as a path
            return False

    @property
    @override
    def written(self) -> str:
        return f"dockerfile {self.context.written}"

    @property
    @override
    def lock_words(self) -> LockWords | None:
        """None where it starts from nothing."""
        if not self.bases:
            return None
        platform = {"platform": self.platform} if self.platform else {}
        return {"dockerfile": self.file.written, "from": [*map(str, self.bases)], **platform}

    @property
    @override
    def host_paths(self) -> tuple[Path, ...]:  # type: ignore[override]
        return (self.context.path, self.file.path)

    @property
    def rules(self) -> TreeRules:
        """What of the context counts: not the user's caches, as the context is copied to ours."""
        rules = TreeRules(ignore=self.ignore, xattrs=False, specials=False)
        return rules.without(self.context.path.absolute(), default_path(os.environ).parent)

    @override
    def reads(self, role: str) -> tuple[Source, ...]:
        pinned = super().reads(role) if self.bases else ()
        return (
            *pinned,
            Source(f"{role}.dockerfile[file]", self.file.path, self.file.written),
            Source(f"{role}.dockerfile[context]", self.context.path, self.context.written, self.rules),
        )

    @override
    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """For the platform that it stood for before, if the manifest names none."""
        named = self.platform or (before.platform if before else None)
        platform = str(parse_platform(named) if named else host_platform())
        digests = []
        for base in self.bases:
            wanted = parse_platform(base.platform or platform)
            try:
                digests.append(container_registry.ask(parse_name(base.name), wanted, context).digest)
            except (SourceError, FetchError) as err:
                brief = f"{err.brief} (a FROM of '{self.file.written}')"
                raise type(err)(brief, details=err.details, hint=err.hint) from err
        return Pin(together(digests), platform, digests=tuple(digests))

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        pin = required_pin(context, self.written) if self.bases else Pin("", str(host_platform()))
        if self.bases and (together(pin.digests) != pin.digest or len(pin.digests) != len(self.bases)):
            raise SourceError(
                f"the digests of '{self.written}' in the lock file do not go together",
                hint="bangerbuild lock --upgrade",
            )
        platform = self.platform or pin.platform or str(host_platform())
        with container_build.opened(
            self, dict(zip(self.bases, pin.digests, strict=True)), platform, context
        ) as (
            layout,
            image,
        ):
            yield container.merged_content(self, layout, image)


def _places(text: str) -> tuple[str, str]:
    """The directory and the name that a text stands for: it may name the Dockerfile itself."""
    above, slash, name = text.rpartition("/")
    return (above or slash or ".", name) if name == FILE_NAME else (text, FILE_NAME)


def together(digests: list[str] | tuple[str, ...]) -> str:
    """The digest of some digests."""
    return hashlib.sha256(json.dumps([*digests]).encode()).hexdigest()


def _read_file(file: HostPath, args: Mapping[str, str], target: str | None, *, is_there: bool) -> Dockerfile:
    text = _text(file.path, file.written) if is_there else _ABSENT
    found = Dockerfile(text, args, file.written, target)
    found.bases()
    return found


def _ignore_rules(context: Path) -> IgnoreRules:
    for name in IGNORE_FILES:
        try:
            text = _text(context / name, name)
        except SourceError:
            if (context / name).exists():
                raise
            continue
        rules = IgnoreRules((*parse(text), *_OURS))
        rules.leaves_out("x")  # whether all of them are patterns
        return rules
    return IgnoreRules(_OURS)


def _text(path: Path, written: str) -> str:
    with opened_file(path, written) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise SourceError(f"'{written}' is too large for what it is to be")
    return data.decode(errors="surrogateescape").replace("\r\n", "\n")


def _arguments(table: SourceTable) -> dict[str, str]:
    if "args" not in table:
        return {}
    values = table.sub("args")
    found = table.get("args")
    for name in found:
        values.convert(name, lambda _, name=name: _checked(name))  # type: ignore[misc]
    return {name: str(value) for name, value in found.items()}


def _checked(name: str) -> str:
    if not _ARGUMENT.fullmatch(name):
        raise SourceError(f"'{name}' is no name of a build argument")
    return name
