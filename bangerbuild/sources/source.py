"""What every kind of image source has: the Protocols, and what a source holds once it is opened.

A source is the value of `rootfs`, `work_seed`, `kernel` or `initrd` in a manifest. Each kind is one file of
this package with one frozen dataclass. Its fields are a part of the recipe of the step that builds from it,
so a field that decides no byte is marked with `NO_RECIPE`.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, cast

from bangerbuild.errors import SourceError
from bangerbuild.fetch.cache import Cache, default_path
from bangerbuild.host import observed
from bangerbuild.identities import kept, removed, shown
from bangerbuild.model import Source
from bangerbuild.tree import GuestEdits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any, BinaryIO, TypeAlias

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.inode import Stat
    from bangerbuild.host.process import Program
    from bangerbuild.kernel.boot_files import BootFile
    from bangerbuild.model import HostPath, Json, Pin, View
    from bangerbuild.tree import Entry

    LockWords: TypeAlias = Mapping[str, str | list[str]]
    FindBootFile: TypeAlias = Callable[[Filesystem, str], BootFile]
    AddedEdits: TypeAlias = Callable[["BuiltRoot"], GuestEdits]

T = TypeVar("T")
_IS_ADDRESS = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
PIN_FACT = "pin"
"""Under what key a step's record keeps the lock file's entry for the source that it was built from."""


class Resolution(Enum):
    """How a source comes to stand for certain bytes."""

    READ = "read"
    """Its content is read on this host, or is another step's artifact, in every run."""
    LOCKED = "locked"
    """It lies elsewhere or behind a tag: it is asked once, and the lock file has the answer from then on."""


class SourceTable(Protocol):
    """The table of one source in a manifest. Every fault becomes a problem with its line."""

    @property
    def key(self) -> str:
        """What the source is for: `rootfs`, `work_seed`, `kernel` or `initrd`."""

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str) -> Any:  # noqa: ANN401  # any TOML value; the schema has seen to its type
        """The value of a key; None if it is not given."""

    def sub(self, key: str) -> SourceTable:
        """A table in this one."""

    def file(self, key: str, written: str | None = None) -> HostPath:
        """The file of the host that a key names, or `written` if that is only a part of the value."""

    def directory(self, key: str, written: str | None = None) -> HostPath:
        """The same of a directory."""

    def guest_path(self, key: str) -> str | None:
        """The absolute guest path of a key; None if it is not given or can't be meant."""

    def size(self, key: str, *, least_bytes: int | None = None, what: str = "") -> int | None:
        """The size of a key in bytes; a problem if it is below that of `what`, which the disk starts as."""

    def convert(self, key: str, function: Callable[[str], T], item: int | None = None) -> T | None:
        """What `function` makes of a key's text, or of an item of its list; None if it raises SourceError."""

    def problem(self, key: str, message: str, hint: str | None = None) -> None:
        """Report a problem of a key; of the whole table if the key is empty."""


class FetchContext(Protocol):
    """What bringing content here takes."""

    @property
    def epoch(self) -> int:
        """Seconds since 1970 for every time that is not taken from a file."""

    @property
    def offline(self) -> bool:
        """Whether the network must not be used."""

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Tell how far something is that takes long."""


class AskContext(FetchContext, Protocol):
    """What a source may use to find out what it stands for."""

    def digest(self, source: Source) -> str:
        """The digest of a file of the host."""


class OpenContext(FetchContext, Protocol):
    """What a source may use while its step runs; a step's workspace is one."""

    @property
    def pin(self) -> Pin | None:
        """What the step's source stands for, if it is of `Resolution.LOCKED`."""

    @property
    def staging(self) -> Path:
        """A private directory for this job."""

    def artifact(self, step_id: str) -> str:
        """The name of another step's artifact, relative to the store."""

    def path(self, artifact: str) -> Path:
        """Where an artifact lies."""

    def say(self, what: str, line: str) -> None:
        """Show a line that a program printed which works for long."""


class SourceKind(Protocol):
    """A kind of source, as a registry has it: how it is named in a manifest, and what it needs."""

    word: ClassVar[str]
    """The key that names it in the manifest."""
    keys: ClassVar[tuple[str, ...]]
    """Further keys that go with it, `size` apart."""
    programs: ClassVar[tuple[Program, ...]]
    """What it needs of the host."""

    @classmethod
    def shown_word(cls, text: str) -> str:
        """A text of its entry in the lock file, as people may see it."""
        return without_secrets(text)


class FilesystemKind(SourceKind, Protocol):
    """A kind of what `rootfs` and `work_seed` can be made of."""

    @classmethod
    def read(cls, table: SourceTable) -> ImageSource | None:
        """The source of a table; None if a problem was reported that leaves nothing to go on with."""

    @classmethod
    def claims(cls, text: str) -> bool:
        """Whether the text of a command line (`image import TEXT`) names a source of this kind."""


class BootFileKind(SourceKind, Protocol):
    """A kind of what `kernel` and `initrd` can be taken from."""

    @classmethod
    def read(cls, table: SourceTable) -> BootSource | None:
        """The source of a table; None if a problem was reported that leaves nothing to go on with."""


class DeclaredSource(Protocol):
    """What the values of all kinds of sources have in common."""

    @property
    def written(self) -> str:
        """What messages call it."""

    @property
    def resolution(self) -> Resolution:
        """How it comes to stand for certain bytes."""

    @property
    def lock_words(self) -> LockWords | None:
        """What its entry in the lock file begins with; None if it never has one."""

    @property
    def own_pin(self) -> Pin | None:
        """What the manifest itself pins it to."""

    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        """What it stands for today; `before` is what it stood for last, if that is known.

        Raises:
            SourceError, FetchError, ToolError: it gives no answer.
        """

    @property
    def host_paths(self) -> tuple[Path, ...]:
        """The paths of the host that reading the manifest looked at."""

    @property
    def host_trees(self) -> tuple[Path, ...]:
        """Directories of the host that asking looks into."""

    def reads(self, role: str) -> tuple[Source, ...]:
        """What of its content counts in the recipe of the step that builds `role`, such as `rootfs`."""


class ImageSource(DeclaredSource, Protocol):
    """What a filesystem can be made of: a tree of entries, or a filesystem as it is."""

    @property
    def size_bytes(self) -> int | None:
        """The size that the manifest gives the filesystem."""

    @property
    def known_bytes(self) -> int | None:
        """The size that the filesystem will have, if that can be told before it is made."""

    @property
    def based_on(self) -> str | None:
        """The name of the image of the same manifest that it starts from."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the steps whose artifacts it reads."""

    def notes(self, pin: Pin | None) -> tuple[str, ...]:  # noqa: ARG002  # most have nothing to say
        """What there is to say of what will be taken, as far as it can be told without fetching anything.

        Raises:
            SourceError, FilesystemError, ToolError: `open` is known to fail so.
        """
        return ()

    def open(self, context: OpenContext) -> AbstractContextManager[Content]:
        """What it holds, brought here if it lies elsewhere.

        Raises:
            SourceError, FetchError, ToolError: it can't be had, or is not what it is pinned to.
        """


class BootSource(DeclaredSource, Protocol):
    """What a kernel or an initrd can be taken from: always one file."""

    def inputs(self, image: str) -> tuple[str, ...]:
        """Ids of the steps whose artifacts it reads, as the boot file of this image."""

    def foresee(
        self,
        view: View,  # noqa: ARG002  # what lies elsewhere can't be looked at
        image: str,  # noqa: ARG002
        find: FindBootFile,  # noqa: ARG002
        check: Callable[[BinaryIO], None],  # noqa: ARG002
    ) -> None:
        """Look at what `open` will find, as far as it is here; `check` judges a file by its beginning.

        Raises:
            SourceError: `open` is known to fail so, or what it finds is of no use.
            FormatError: the same, from `check`.
        """
        return

    def open(
        self, context: OpenContext, image: str, find: FindBootFile
    ) -> AbstractContextManager[BootContent]:
        """The file; `find` chooses one in a guest by its pattern. Errors as `ImageSource.open`."""


@dataclass(frozen=True)
class EntryTree:
    """A source of entries that can be walked more than once."""

    written: str
    """What messages call it."""
    size_bytes: int | None
    """Of the filesystem; None: what the content needs, and headroom."""
    entries: Callable[[], AbstractContextManager[Iterator[Entry]]]
    inodes: int | None = None
    """How many a filesystem of that size must have at least; None: as many as are usual."""
    form: ClassVar[str] = "tree"


@dataclass(frozen=True)
class DiskImage:
    """A file that holds a filesystem."""

    path: Path
    written: str
    """What messages call it."""
    size_bytes: int | None
    """That the image shall have; None: the file's."""
    is_ours: bool = False
    """Whether it lies in staging and may become the image itself."""
    mend: str | None = None
    """How its errors are mended, where that is not by e2fsck alone."""
    form: ClassVar[str] = "filesystem"


@dataclass(frozen=True)
class ImageArtifact(DiskImage):
    """The same of a file that another step made: a seed among them was flattened when it was made."""

    form: ClassVar[str] = "image"


class BuiltRoot(Protocol):
    """A root filesystem with all that an image holds, to be read. Paths are absolute; links are followed."""

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None only where there is no such file."""

    def stat(self, path: str) -> Stat | None:
        """What is there; None where nothing is."""


def nothing_added(_root: BuiltRoot) -> GuestEdits:
    """No edits."""
    return GuestEdits()


@dataclass(frozen=True)
class Content:
    """What a source holds, and what the step remembers of it."""

    data: EntryTree | DiskImage
    facts: Mapping[str, Json] = field(default_factory=dict)
    added: AddedEdits = nothing_added
    """What is written into the image because the source says so."""
    is_of_machine: bool = False
    """Whether it was the disk of a machine, which may expect a cloud around it."""


@dataclass(frozen=True)
class BootContent:
    """A kernel or an initrd."""

    path: Path
    written: str
    """What messages call it."""
    found: BootFile | None = None
    """Which file of a guest it is; None: it is none of a guest."""
    guest: Filesystem | None = None
    """That guest's root filesystem, open to be read."""


def without_secrets(text: str) -> str:
    """A text that is or has an address: without user name and password; an address alone without query."""
    if "://" not in text:
        return text
    return shown(text) if _IS_ADDRESS.match(text) else removed(text)


def kept_words(words: LockWords) -> dict[str, str | list[str]]:
    """What a source asks for as a file may keep it: addresses without user names and passwords."""
    return {
        key: _kept(word) if isinstance(word, str) else [_kept(item) for item in word]
        for key, word in words.items()
    }


def _kept(word: str) -> str:
    return kept(word) if "://" in word else word


def lock_entry(words: LockWords, pin: Pin) -> dict[str, str | list[str]]:
    """The lock file's entry for what a source asks for, and what it turned out to be."""
    known = {
        "sha256": pin.digest,
        "platform": pin.platform,
        "versions": pin.versions,
        "digests": list(pin.digests) or None,
    }
    return {**kept_words(words), **{key: value for key, value in known.items() if value is not None}}


def pin_facts(source: DeclaredSource, context: OpenContext) -> dict[str, Json]:
    """What a step remembers of what its source was pinned to; nothing of a source that is read as it is."""
    if source.resolution is Resolution.READ or source.lock_words is None:
        return {}
    pin = required_pin(context, source.written)
    return {PIN_FACT: cast("Json", lock_entry(source.lock_words, pin))}


def required_pin(context: OpenContext, written: str) -> Pin:
    """What the source of a running step is pinned to.

    Raises:
        SourceError: it was never asked, as in a plan that was made without asking.
    """
    if context.pin is None:
        raise SourceError(f"'{written}' was never asked what it stands for")
    return context.pin


def pinned_content(role: str, source: DeclaredSource) -> tuple[Source, ...]:
    """What counts in a recipe of content that lies elsewhere: the digest that it is pinned to."""
    own = source.own_pin
    return (Source(role, None, source.written, pin=own.digest if own else None),)


@contextmanager
def users_cache() -> Iterator[Cache]:
    """The user's cache of downloads; what it hands out stays there until it is closed.

    What is read of it is not noted: everything in the cache is found by its digest.
    """
    with observed.unrecorded(), Cache(default_path(os.environ)) as cache:
        yield cache
