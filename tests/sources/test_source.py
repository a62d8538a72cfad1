"""What is said of a source in the lock file, in a record and in a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.host import observed
from bangerbuild.model import HostPath, Pin, Source
from bangerbuild.sources.oci_registry import OciRegistrySource
from bangerbuild.sources.source import lock_entry, pin_facts, pinned_content, required_pin, users_cache
from bangerbuild.sources.tar import TarSource
from bangerbuild.sources.url import UrlSource
from tests.sources.building import Context

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = "ab" * 32
URL = UrlSource("https://example.org/x.tar")


@pytest.mark.parametrize(
    ("pin", "known"),
    [
        (Pin(DIGEST), {}),
        (Pin(DIGEST, "linux/amd64"), {"platform": "linux/amd64"}),
        (Pin(DIGEST, versions="cd" * 32), {"versions": "cd" * 32}),
    ],
)
def test_a_lock_entry_has_what_was_asked_for_and_what_is_known_of_the_answer(
    pin: Pin, known: dict[str, str]
) -> None:
    assert lock_entry({"url": "a", "list": ["b"]}, pin) == {
        "url": "a",
        "list": ["b"],
        "sha256": DIGEST,
        **known,
    }


def test_the_platform_that_an_image_turned_out_to_have_is_in_the_entry() -> None:
    words = OciRegistrySource(reference="docker://debian").lock_words
    assert words is not None
    assert list(lock_entry(words, Pin(DIGEST, "linux/arm64"))) == ["oci", "sha256", "platform"]


def test_a_record_has_the_entry_of_a_source_elsewhere_and_nothing_of_a_file_of_the_host(
    tmp_path: Path,
) -> None:
    context = Context(pin=Pin(DIGEST))
    assert pin_facts(URL, context) == {"pin": {"url": URL.url, "sha256": DIGEST}}
    assert pin_facts(TarSource(HostPath(tmp_path / "x.tar", "x.tar")), context) == {}


def test_a_source_that_was_never_asked_is_an_error_that_names_it() -> None:
    assert required_pin(Context(pin=Pin(DIGEST)), "x") == Pin(DIGEST)
    with pytest.raises(SourceError, match="'x' was never asked what it stands for"):
        required_pin(Context(), "x")


def test_what_counts_of_content_elsewhere_is_its_pin_and_not_its_place() -> None:
    assert pinned_content("rootfs.url", UrlSource(URL.url, Pin(DIGEST))) == (
        Source("rootfs.url", None, URL.written, pin=DIGEST),
    )
    assert pinned_content("rootfs.url", URL) == (Source("rootfs.url", None, URL.written),)


def test_what_is_read_of_the_users_cache_is_not_noted(cache: Path) -> None:
    seen = observed.Observations(lambda found: found.st_size)
    with seen.recording():
        observed.look(cache.parent)
        with users_cache() as opened:
            observed.look(cache)
            assert opened.path == cache
        observed.look(cache / "more")
    assert seen.followed == {str(cache.parent): None, str(cache / "more"): None}
