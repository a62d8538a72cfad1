"""What kinds of source share: files of the host, content elsewhere, and what is never locked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from bangerbuild.model import NO_RECIPE, HostPath, Pin, Source
from bangerbuild.sources.bases import DeclaredSize, Elsewhere, HostFile, Independent, NeverLocked
from bangerbuild.sources.source import Resolution
from tests.sources.building import Context, recipe

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bangerbuild.sources.source import AskContext, Content, LockWords, OpenContext

PATH = HostPath(Path("/srv/verse"), "verse")


@dataclass(frozen=True)
class Verse(DeclaredSize, Independent, HostFile):
    """A file of the host that holds a verse."""

    word: ClassVar[str] = "verse"
    keys: ClassVar[tuple[str, ...]] = ()

    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    def open(self, context: OpenContext) -> AbstractContextManager[Content]:
        raise NotImplementedError


@dataclass(frozen=True)
class Echo(Elsewhere):
    """Something that lies elsewhere."""

    word: ClassVar[str] = "echo"
    keys: ClassVar[tuple[str, ...]] = ()

    written: str = field(default="echo", metadata=NO_RECIPE)
    own_pin: Pin | None = field(default=None, metadata=NO_RECIPE)

    @property
    def lock_words(self) -> LockWords | None:
        return {"echo": self.written}

    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        return before or Pin(context.digest(Source("", None, self.written)))


class Constant(NeverLocked):
    """Something that is asked of nobody."""

    written = "constant"
    host_paths = host_trees = ()

    def reads(self, role: str) -> tuple[Source, ...]:
        raise NotImplementedError


def test_a_file_of_the_host_counts_by_its_content_under_the_role_of_its_kind() -> None:
    assert Verse(PATH).reads("rootfs") == (Source("rootfs.verse", PATH.path, "verse"),)
    assert (recipe(Verse(PATH, 5)), recipe(Verse(PATH))) == ({"rootfs.size": 5}, {"rootfs.size": None})


def test_a_file_of_the_host_is_pinned_to_its_digest_as_it_is_now_whatever_it_was() -> None:
    context = Context()
    assert Verse(PATH).ask(context, Pin("old")) == Pin("digest of verse")
    assert context.asked == [Source("", PATH.path, "verse")]
    assert (Verse(PATH).resolution, Verse(PATH).lock_words) == (Resolution.READ, {"verse": "verse"})


def test_a_manifest_depends_on_where_its_file_of_the_host_lies() -> None:
    assert (Verse(PATH).host_paths, Verse(PATH).host_trees) == ((PATH.path,), ())


@pytest.mark.parametrize("size_bytes", [None, 1 << 30])
def test_the_size_that_is_known_is_the_declared_one(size_bytes: int | None) -> None:
    assert Verse(PATH, size_bytes).known_bytes == size_bytes


def test_a_source_that_is_independent_needs_no_other_step() -> None:
    assert (Verse(PATH).inputs, Verse(PATH).based_on) == ((), None)


@pytest.mark.parametrize("pin", [None, Pin("ab" * 32)])
def test_what_lies_elsewhere_counts_by_the_manifests_own_pin_if_it_has_one(pin: Pin | None) -> None:
    source = Echo("a name", pin)
    assert source.reads("rootfs") == (Source("rootfs.echo", None, "a name", pin=pin.digest if pin else None),)
    assert source.resolution is Resolution.LOCKED
    assert (source.host_paths, source.host_trees) == ((), ())


def test_what_is_never_locked_has_no_entry_and_must_not_be_asked() -> None:
    source = Constant()
    assert (source.resolution, source.lock_words, source.own_pin) == (Resolution.READ, None, None)
    with pytest.raises(NotImplementedError, match="Constant has no entry in the lock file"):
        source.ask(Context(), None)
