"""What registries are asked for a plan, what of it is believed, and what becomes of those that fail."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cache_registry import lookup
from bangerbuild.cache_registry.artifact import Description, Manifest, sha256
from bangerbuild.cache_registry.lookup import RegistryCache
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.model.fingerprint import fingerprint
from bangerbuild.model.image_cache import Answer, LockedImage, Wanted
from tests.cache_registry.making import FINGERPRINT, ID, RECIPE, TOOLS, WANTED
from tests.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cache_registry.lying import LyingRegistry

DESCRIPTION = Description("image-rootfs", FINGERPRINT, (), {})
MANIFEST = Manifest(sha256(DESCRIPTION.document()), len(DESCRIPTION.document()), ())
LOCKED = LockedImage("rootfs", MANIFEST.description, "", {"e2fsprogs": "1.47.0"})


def cache_of(
    *addresses: str, trust: bool = False, locked: Mapping[str, LockedImage] | None = None
) -> RegistryCache:
    repositories = tuple(Repository.parse(f"docker://{address}/team") for address in addresses)
    return RegistryCache(repositories, trust, {"small": {FINGERPRINT: LOCKED} if locked is None else locked})


def found(answer: Answer) -> str | None:
    return answer.offer.written if answer.offer else None


def test_what_the_lock_file_has_the_digest_of_is_offered(lying: LyingRegistry) -> None:
    lying.holds(FINGERPRINT, MANIFEST, {})
    cache = cache_of(lying.address)
    cache.ask([WANTED])
    asked = len(lying.asked)
    answer = cache.find(WANTED)
    assert found(answer) == f"docker://{lying.address}/team/small:{FINGERPRINT}"
    assert answer.offer is not None
    digest = sha256(MANIFEST.document())
    assert answer.offer.reference == f"docker://{lying.address}/team/small@sha256:{digest}"
    assert (answer.offer.recipe, answer.offer.digest) == (RECIPE, LOCKED.digest)
    assert (answer.warnings, tuple(cache.told())) == ((), ())
    assert len(lying.asked) == asked, "it was asked for a second time"


def test_without_a_digest_nobody_is_asked_unless_the_cache_is_trusted(lying: LyingRegistry) -> None:
    lying.holds(FINGERPRINT, MANIFEST, {})
    assert cache_of(lying.address, locked={}).find(WANTED) == Answer()
    assert lying.asked == []
    answer = cache_of(lying.address, locked={}, trust=True).find(WANTED)
    assert answer.offer is not None
    assert answer.offer.digest is None


def test_the_digest_counts_even_where_the_cache_is_trusted(lying: LyingRegistry) -> None:
    lying.holds(FINGERPRINT, replace(MANIFEST, description="0" * 64), {})
    answer = cache_of(lying.address, trust=True).find(WANTED)
    tag = f"docker://{lying.address}/team/small:{FINGERPRINT}"
    assert answer == Answer(None, (f"'{tag}' is not what bangerbuild.lock says: it is not taken",))


def test_what_other_tools_made_is_taken_if_the_lock_file_has_its_digest(lying: LyingRegistry) -> None:
    recipe = replace(RECIPE, tools={**TOOLS, "e2fsprogs": "1.48.0"})
    here = Wanted(ID, recipe, fingerprint(recipe))
    lying.holds(FINGERPRINT, MANIFEST, {})
    answer = cache_of(lying.address).find(here)
    assert answer.offer is not None
    assert (answer.offer.fingerprint, answer.offer.recipe) == (FINGERPRINT, RECIPE)
    lying.holds(here.fingerprint, replace(MANIFEST, description="1" * 64), {})
    own = replace(LOCKED, digest="1" * 64, tools={"e2fsprogs": "1.48.0"})
    both = cache_of(lying.address, locked={FINGERPRINT: LOCKED, here.fingerprint: own}).find(here)
    assert both.offer is not None
    assert both.offer.fingerprint == here.fingerprint, "what was made with the own tools comes first"


@pytest.mark.parametrize(
    "tools",
    [
        {**TOOLS, "e2fsprogs": "1.48.0", "bangerbuild image-rootfs": "3"},
        {**TOOLS, "e2fsprogs": "1.48.0", "SOURCE_DATE_EPOCH": "1"},
    ],
)
def test_other_steps_and_other_times_are_other_recipes(lying: LyingRegistry, tools: dict[str, str]) -> None:
    recipe = replace(RECIPE, tools=tools)
    lying.holds(FINGERPRINT, MANIFEST, {})
    trick = replace(LOCKED, tools=TOOLS)
    cache = cache_of(lying.address, locked={FINGERPRINT: trick})
    assert cache.find(Wanted(ID, recipe, fingerprint(recipe))) == Answer()


@pytest.mark.parametrize("part", ["work_seed", "kernel"])
def test_another_part_of_the_image_is_not_looked_at(lying: LyingRegistry, part: str) -> None:
    recipe = replace(RECIPE, tools={**TOOLS, "e2fsprogs": "1.48.0"})
    lying.holds(FINGERPRINT, MANIFEST, {})
    cache = cache_of(lying.address, locked={FINGERPRINT: replace(LOCKED, part=part)})
    assert cache.find(Wanted(ID, recipe, fingerprint(recipe))) == Answer()


@pytest.mark.parametrize("document", [b"", b"{}", MANIFEST.document()[:-9], b'{"layers": 1}'])
def test_what_is_no_artifact_is_not_taken_and_named(lying: LyingRegistry, document: bytes) -> None:
    lying.holds(FINGERPRINT, document, {})
    (warning,) = cache_of(lying.address).find(WANTED).warnings
    assert f"docker://{lying.address}/team" in warning


def test_the_next_registry_is_asked_where_the_first_fails_and_it_is_named_once(lying: LyingRegistry) -> None:
    lying.holds(FINGERPRINT, MANIFEST, {})
    with reserved_port() as port:
        nobody = f"127.0.0.1:{port}"
        cache = cache_of(nobody, lying.address, trust=True)
        others = [replace(RECIPE, fields={"text": word}) for word in ("b", "c")]
        wanted = [WANTED, *(Wanted(ID, one, fingerprint(one)) for one in others)]
        cache.ask(wanted)
        answers = [cache.find(one) for one in wanted]
        assert found(answers[0]) == f"docker://{lying.address}/team/small:{FINGERPRINT}"
        why = "can't be fetched: nothing answers where its registry should be"
        warning = f"the cache 'docker://{nobody}/team' can't be used: {why}"
        assert [answer.warnings for answer in answers] == [(warning,), (), ()]


def test_a_registry_that_does_not_answer_is_waited_for_only_so_long(
    lying: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "ASK_SECONDS", 0.5)
    lying.hangs = threading.Event()
    cache = cache_of(lying.address)
    cache.ask([WANTED])
    (warning,) = cache.find(WANTED).warnings
    assert (
        warning
        == f"the cache 'docker://{lying.address}/team' can't be used: gave no answer within 0.5 seconds"
    )


def test_what_was_refused_is_not_offered_again_and_the_reason_told(lying: LyingRegistry) -> None:
    lying.holds(FINGERPRINT, MANIFEST, {})
    cache = cache_of(lying.address)
    offer = cache.find(WANTED).offer
    assert offer is not None
    cache.refuse(offer, "it is damaged")
    assert cache.find(WANTED) == Answer(None, ("it is damaged",))
    assert list(cache.told()) == [(ID, "it is damaged")]
