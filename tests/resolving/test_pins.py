"""What sources stand for: who is asked, in which order, and what the lock file then has to say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from bangerbuild.declared import Image, Manifest
from bangerbuild.errors import LockFileError, SourceError
from bangerbuild.model import HostPath, Pin, Recipe, Record
from bangerbuild.resolving.lockfile import LockEntry, LockFile
from bangerbuild.resolving.pins import ResolveOptions, settle
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.mmdebstrap import MmdebstrapSource
from bangerbuild.sources.oci_layout import OciLayoutSource
from bangerbuild.sources.oci_registry import OciRegistrySource
from bangerbuild.sources.other_image import OtherImage
from bangerbuild.sources.tar import TarSource
from bangerbuild.sources.url import UrlBootFile, UrlSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.model import Source
    from bangerbuild.resolving import pins
    from bangerbuild.sources.source import AskContext

A, B, C = (letter * 64 for letter in "abc")
URL = "https://example.org/x.tar"
KERNEL = "https://example.org/vmlinuz"
TAG = "docker://debian:12"


@dataclass
class FakeWorld:
    """Answers as a test says, and remembers what it was asked: the context that sources are asked in."""

    answers: dict[str, Pin] = field(default_factory=dict)
    """By what messages call the source."""
    asked: list[tuple[str, Pin | None]] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)
    epoch: int = 1
    offline: bool = False

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        raise AssertionError(f"nothing is fetched here: {what}, {done_bytes} of {total_bytes}")

    def ask(self, written: str, before: Pin | None) -> Pin:
        self.asked.append((written, before))
        if written not in self.answers:
            raise SourceError(f"'{written}' is not there")
        return self.answers[written]

    def digest(self, source: Source) -> str:
        self.hashed.append(source.written)
        return self.answers[source.written].digest


class Answered:
    """A source whose answer is the test's and not the network's."""

    written: str

    def ask(self, context: AskContext, before: Pin | None) -> Pin:
        return cast("FakeWorld", context).ask(self.written, before)


class Url(Answered, UrlSource): ...


class UrlBoot(Answered, UrlBootFile): ...


class Registry(Answered, OciRegistrySource): ...


class Layout(Answered, OciLayoutSource): ...


class Packages(Answered, MmdebstrapSource): ...


def forgotten(_place: str) -> None:
    """A store that remembers nothing."""


def host(name: str) -> HostPath:
    return HostPath(Path("/project") / name, name)


def manifest(*images: Image) -> Manifest:
    return Manifest(Path("/project/build"), {image.name: image for image in images}, {}, (Path("vm.toml"),))


def locked(**entries: LockEntry) -> LockFile:
    """A lock file; `a_rootfs` stands for `image.a.rootfs`."""
    return LockFile({f"image.{name.replace('_', '.', 1)}": entry for name, entry in entries.items()})


def entry(url: str, digest: str) -> LockEntry:
    return LockEntry.of({"url": url}, Pin(digest))


ELSEWHERE = manifest(
    Image("a", Url(URL), kernel=UrlBoot(KERNEL)),
    Image("b", Registry(reference=TAG), Registry(reference=TAG)),
)
WORLD = {URL: Pin(A), KERNEL: Pin(B), TAG: Pin(C, "linux/amd64")}
ALL = locked(
    a_rootfs=entry(URL, A),
    a_kernel=entry(KERNEL, B),
    b_rootfs=LockEntry.of({"oci": TAG}, Pin(C, "linux/amd64")),
    b_work_seed=LockEntry.of({"oci": TAG}, Pin(C, "linux/amd64")),
)


def pin_of(settled: pins.Settled, name: str, key: str = "rootfs") -> Pin | None:
    return settled.pins.get(f"image.{name}.{key}")


def test_what_nobody_remembers_is_asked_once_for_all_places_and_locked() -> None:
    world = FakeWorld(WORLD)
    settled = settle(ELSEWHERE, LockFile(), forgotten, world)
    assert world.asked == [(URL, None), (KERNEL, None), (TAG, None)]
    assert settled.lock == ALL
    assert [pin_of(settled, "a"), pin_of(settled, "a", "kernel")] == [Pin(A), Pin(B)]
    assert pin_of(settled, "b") == pin_of(settled, "b", "work_seed") == Pin(C, "linux/amd64")


def test_what_is_locked_is_asked_nobody_and_stays_whatever_the_world_says_by_now() -> None:
    world = FakeWorld()
    settled = settle(ELSEWHERE, ALL, forgotten, world)
    assert world.asked == []
    assert settled.lock == ALL
    assert pin_of(settled, "a") == Pin(A)


def test_what_the_manifest_pins_itself_is_neither_asked_nor_locked() -> None:
    world = FakeWorld()
    pinned = manifest(Image("a", Url(URL, Pin(A)), kernel=UrlBoot(KERNEL, Pin(B))))
    settled = settle(pinned, locked(a_rootfs=entry(URL, C)), forgotten, world)
    assert world.asked == []
    assert settled.pins == {"image.a.rootfs": Pin(A), "image.a.kernel": Pin(B)}
    assert settled.lock == locked(a_rootfs=entry(URL, C))  # it is stale, and only `lock` drops it


def test_other_words_in_the_manifest_ask_anew() -> None:
    world = FakeWorld({URL: Pin(B)})
    before = locked(a_rootfs=entry("https://example.org/old.tar", A))
    settled = settle(manifest(Image("a", Url(URL))), before, forgotten, world)
    assert settled.lock == locked(a_rootfs=entry(URL, B))


def test_an_image_that_is_renamed_keeps_what_it_stood_for() -> None:
    world = FakeWorld()
    settled = settle(manifest(Image("new", Url(URL))), locked(old_rootfs=entry(URL, A)), forgotten, world)
    assert pin_of(settled, "new") == Pin(A)
    assert settled.lock == locked(old_rootfs=entry(URL, A), new_rootfs=entry(URL, A))


def test_a_platform_that_the_manifest_asks_for_is_another_question() -> None:
    world = FakeWorld({TAG: Pin(A, "linux/arm64")})
    images = manifest(Image("b", Registry(reference=TAG, platform="linux/arm64")))
    settled = settle(images, ALL, forgotten, world)
    assert pin_of(settled, "b") == Pin(A, "linux/arm64")
    assert settled.lock.entries["image.b.rootfs"] == LockEntry.of({"oci": TAG}, Pin(A, "linux/arm64"))


def record(place: str, words: dict[str, str]) -> Callable[[str], Record | None]:
    recipe = Recipe("image-rootfs", {}, {}, {}, {})
    return {place: Record(place, recipe, "f" * 32, ("images/a",), {"pin": dict(words)})}.get


def test_what_was_built_is_remembered_by_the_store_where_the_lock_file_is_gone() -> None:
    world = FakeWorld()
    settled = settle(
        manifest(Image("a", Url(URL))),
        LockFile(),
        record("image.a.rootfs", {"url": URL, "sha256": A}),
        world,
    )
    assert (world.asked, pin_of(settled, "a")) == ([], Pin(A))
    assert settled.lock == locked(a_rootfs=entry(URL, A))


@pytest.mark.parametrize("words", [{}, {"url": "https://other", "sha256": A}])
def test_what_was_built_of_something_else_is_no_answer(words: dict[str, str]) -> None:
    world = FakeWorld({URL: Pin(B)})
    settled = settle(manifest(Image("a", Url(URL))), LockFile(), record("image.a.rootfs", words), world)
    assert pin_of(settled, "a") == Pin(B)


def test_the_lock_file_counts_more_than_what_was_built() -> None:
    built = record("image.a.rootfs", {"url": URL, "sha256": B})
    settled = settle(manifest(Image("a", Url(URL))), locked(a_rootfs=entry(URL, A)), built, FakeWorld())
    assert pin_of(settled, "a") == Pin(A)


def test_nobody_is_asked_for_what_is_not_needed() -> None:
    world = FakeWorld(WORLD)
    settled = settle(
        ELSEWHERE,
        LockFile(),
        forgotten,
        world,
        ResolveOptions(needed=lambda place: place == "image.a.kernel"),
    )
    assert world.asked == [(KERNEL, None)]
    assert settled.lock == locked(a_kernel=entry(KERNEL, B))
    assert pin_of(settled, "a") is None


def test_a_source_that_gives_no_answer_is_an_error() -> None:
    with pytest.raises(SourceError, match="is not there"):
        settle(ELSEWHERE, LockFile(), forgotten, FakeWorld())


def test_sources_that_are_read_where_they_lie_are_neither_pinned_nor_read_twice() -> None:
    plain = manifest(
        Image(
            "a", TarSource(host("root.tar")), DirectorySource(host("tree")), GuestBootFile("/boot/vmlinuz-*")
        ),
        Image("b", OtherImage("a")),
    )
    world = FakeWorld()
    settled = settle(plain, LockFile(), forgotten, world)
    assert (settled.pins, settled.lock, world.hashed) == ({}, LockFile(), [])


# --locked


def test_locked_takes_a_lock_file_that_has_everything() -> None:
    assert settle(ELSEWHERE, ALL, forgotten, FakeWorld(), ResolveOptions(locked=True)).lock == ALL


@pytest.mark.parametrize(
    ("lock", "places"),
    [
        (LockFile(), "image.a.kernel, image.a.rootfs, image.b.rootfs, image.b.work_seed"),
        (
            replace(ALL, entries={**ALL.entries, "image.a.rootfs": entry("https://old", A)}),
            "image.a.rootfs",
        ),
        (
            LockFile({place: known for place, known in ALL.entries.items() if place != "image.b.work_seed"}),
            "image.b.work_seed",
        ),
    ],
)
def test_locked_refuses_a_lock_file_that_lacks_something_and_asks_nobody(lock: LockFile, places: str) -> None:
    world = FakeWorld(WORLD)
    with pytest.raises(LockFileError) as caught:
        settle(ELSEWHERE, lock, forgotten, world, ResolveOptions(locked=True))
    assert caught.value.brief == f"bangerbuild.lock would have to be changed for {places}"
    assert (caught.value.hint, caught.value.exit_code, world.asked) == ("bangerbuild lock", 3, [])


def test_locked_takes_no_word_of_the_store() -> None:
    built = record("image.a.rootfs", {"url": URL, "sha256": A})
    with pytest.raises(LockFileError, match=r"for image\.a\.rootfs"):
        settle(manifest(Image("a", Url(URL))), LockFile(), built, FakeWorld(), ResolveOptions(locked=True))


def test_locked_does_not_mind_what_is_stale() -> None:
    assert settle(manifest(), ALL, forgotten, FakeWorld(), ResolveOptions(locked=True)).lock == ALL


def test_a_tag_of_a_layout_is_asked_once_and_then_stays() -> None:
    images = manifest(Image("a", Layout(reference="oci:layout:v1", layout=host("layout"))))
    world = FakeWorld({"oci:layout:v1": Pin(B, "linux/amd64")})
    settled = settle(images, LockFile(), forgotten, world)
    words = {"oci": "oci:layout:v1"}
    assert settled.lock == locked(a_rootfs=LockEntry.of(words, Pin(B, "linux/amd64")))
    world.answers["oci:layout:v1"] = Pin(C, "linux/amd64")
    assert pin_of(settle(images, settled.lock, forgotten, world), "a") == Pin(B, "linux/amd64")
    upgraded = settle(images, settled.lock, forgotten, world, ResolveOptions(upgrade=("a",)))
    assert pin_of(upgraded, "a") == Pin(C, "linux/amd64")
    assert len(world.asked) == 2


# files of the host


ARCHIVES = manifest(
    Image("a", TarSource(host("root.tar"))),
    Image("b", TarSource(host("other.tar"))),
)
ARCHIVE_WORLD = {"root.tar": Pin(A), "other.tar": Pin(B)}
ARCHIVES_LOCKED = locked(
    a_rootfs=LockEntry.of({"tar": "root.tar"}, Pin(A)),
    b_rootfs=LockEntry.of({"tar": "other.tar"}, Pin(B)),
)


def test_files_of_the_host_are_locked_only_by_whoever_asks_for_it() -> None:
    world = FakeWorld(ARCHIVE_WORLD)
    settled = settle(ARCHIVES, LockFile(), forgotten, world)
    assert (settled.lock, world.hashed) == (LockFile(), [])
    assert settle(ARCHIVES, LockFile(), forgotten, world, ResolveOptions(whole=True)).lock == ARCHIVES_LOCKED


@pytest.mark.parametrize(
    ("changed", "said", "name"),
    [
        ("root.tar", "'root.tar' of image.a.rootfs", "a"),
        ("other.tar", "'other.tar' of image.b.rootfs", "b"),
    ],
)
@pytest.mark.parametrize("wish", [ResolveOptions(), ResolveOptions(locked=True), ResolveOptions(whole=True)])
def test_a_file_of_the_host_that_is_locked_and_differs_is_refused(
    changed: str, said: str, name: str, wish: ResolveOptions
) -> None:
    world = FakeWorld({**ARCHIVE_WORLD, changed: Pin(C)})
    with pytest.raises(LockFileError) as caught:
        settle(ARCHIVES, ARCHIVES_LOCKED, forgotten, world, wish)
    assert caught.value.brief == f"{said} is not what bangerbuild.lock says"
    assert caught.value.hint == f"bangerbuild lock --upgrade {name}, if it is meant to be"


def test_all_that_differ_are_told() -> None:
    world = FakeWorld({"root.tar": Pin(B), "other.tar": Pin(C)})
    with pytest.raises(LockFileError) as caught:
        settle(ARCHIVES, ARCHIVES_LOCKED, forgotten, world)
    assert caught.value.details == "neither is 'other.tar' of image.b.rootfs"


def test_another_file_in_the_manifest_is_no_difference() -> None:
    world = FakeWorld({"new.tar": Pin(B)})
    images = manifest(Image("a", TarSource(host("new.tar"))))
    assert settle(images, ARCHIVES_LOCKED, forgotten, world).lock == ARCHIVES_LOCKED
    assert settle(images, ARCHIVES_LOCKED, forgotten, world, ResolveOptions(whole=True)).lock == locked(
        a_rootfs=LockEntry.of({"tar": "new.tar"}, Pin(B))
    )


# lock, and lock --upgrade


def test_a_lock_file_made_anew_keeps_what_it_had_and_drops_what_is_stale() -> None:
    world = FakeWorld({KERNEL: Pin(C)})
    before = locked(a_rootfs=entry(URL, A), gone_rootfs=entry("https://gone", B))
    images = manifest(Image("a", Url(URL), kernel=UrlBoot(KERNEL)))
    settled = settle(images, before, forgotten, world, ResolveOptions(whole=True))
    assert settled.lock == locked(a_rootfs=entry(URL, A), a_kernel=entry(KERNEL, C))


def test_an_upgrade_asks_again_and_says_what_was_known() -> None:
    world = FakeWorld({URL: Pin(C), KERNEL: Pin(B), TAG: Pin(A, "linux/arm64")})
    settled = settle(ELSEWHERE, ALL, forgotten, world, ResolveOptions(whole=True, upgrade={"a", "b"}))
    assert world.asked == [(URL, Pin(A)), (KERNEL, Pin(B)), (TAG, Pin(C, "linux/amd64"))]
    assert settled.lock == locked(
        a_rootfs=entry(URL, C),
        a_kernel=entry(KERNEL, B),
        b_rootfs=LockEntry.of({"oci": TAG}, Pin(A, "linux/arm64")),
        b_work_seed=LockEntry.of({"oci": TAG}, Pin(A, "linux/arm64")),
    )


def test_an_upgrade_of_one_image_leaves_the_others() -> None:
    world = FakeWorld({URL: Pin(C), KERNEL: Pin(C)})
    settled = settle(ELSEWHERE, ALL, forgotten, world, ResolveOptions(whole=True, upgrade={"a"}))
    assert settled.lock.entries["image.b.rootfs"] == ALL.entries["image.b.rootfs"]
    assert settled.lock.entries["image.a.rootfs"] == entry(URL, C)


def test_an_upgrade_takes_no_word_of_the_store_or_of_another_image() -> None:
    images = manifest(Image("a", Url(URL)), Image("b", Url(URL)))
    before = locked(a_rootfs=entry(URL, A), b_rootfs=entry(URL, A))
    built = record("image.a.rootfs", {"url": URL, "sha256": A})
    settled = settle(
        images, before, built, FakeWorld({URL: Pin(B)}), ResolveOptions(whole=True, upgrade={"a"})
    )
    assert settled.lock == locked(a_rootfs=entry(URL, B), b_rootfs=entry(URL, A))


def test_an_upgrade_takes_a_changed_file_of_the_host_for_what_is_meant() -> None:
    world = FakeWorld({**ARCHIVE_WORLD, "root.tar": Pin(C)})
    settled = settle(ARCHIVES, ARCHIVES_LOCKED, forgotten, world, ResolveOptions(whole=True, upgrade={"a"}))
    assert settled.lock.entries["image.a.rootfs"].pin == Pin(C)
