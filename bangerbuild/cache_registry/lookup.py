"""What registries have of built images: what a plan asks, and whether it may be believed.

An artifact may be taken if its description has the digest that the lock file holds for its fingerprint, or if
the manifest says that the cache is trusted and the lock file holds none. Machines with other tools have other
fingerprints; what they pushed is looked for next, if the lock file has a digest for it.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from bangerbuild.cache_registry.artifact import parse_manifest, sha256
from bangerbuild.errors import BangerError, SourceError, ToolError
from bangerbuild.formats.oci import skopeo
from bangerbuild.formats.oci.digests import SHA256
from bangerbuild.model import StepId
from bangerbuild.model.fingerprint import fingerprint
from bangerbuild.model.image_cache import Answer, ImageCache, Offer, Wanted
from bangerbuild.model.recipe import host_tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.cache_registry.artifact import Manifest
    from bangerbuild.cache_registry.repository import Repository
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.model.image_cache import LockedImage

ASK_SECONDS = 5.0
"""How long registries are asked for one plan, all of them together."""
AT_ONCE = 8
UNEXPLAINED = {"can't be fetched", "can't be pushed"}
"""What errors say of which only skopeo's own words tell more."""


class _Candidate(NamedTuple):
    """An artifact that would do, and what its description must be."""

    wanted: Wanted
    digest: str | None


@dataclass(frozen=True)
class _Found:
    """What a registry said of one tag."""

    data: bytes | None = None
    """The manifest; None: it has none."""
    trouble: str | None = None


@dataclass
class RegistryCache(ImageCache):
    """The cache of one run; what it was told once, it remembers.

    Args:
        repositories: where to look, in this order.
        trust: whether what the lock file has no digest for may be taken.
        locked: what the lock file holds, by the names of images and by fingerprint.
    """

    repositories: tuple[Repository, ...]
    trust: bool
    locked: Mapping[str, Mapping[str, LockedImage]]
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """Of what was offered, by reference."""
    refused: dict[str, str] = field(default_factory=dict)
    """What could not be fetched, by reference, and what is to be said of it."""
    _found: dict[str, _Found] = field(default_factory=dict)
    _down: set[str] = field(default_factory=set)
    """Registries that failed, and are not asked again."""
    _told_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _left_seconds: float = field(default_factory=lambda: ASK_SECONDS)

    @override
    def ask(self, wanted: Sequence[Wanted]) -> None:
        tags = [
            (repository, _tag(repository, one.wanted))
            for each in wanted
            for one in self._candidates(each)
            for repository in self.repositories
        ]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun = time.monotonic()
            for (repository, tag), found in zip(
                tags, pool.map(lambda pair: self._asked(pair[0], pair[1], begun), tags), strict=True
            ):
                self._note(repository, tag, found)
            self._left_seconds -= time.monotonic() - begun

    @override
    def find(self, wanted: Wanted) -> Answer:
        answer = self._answer(wanted)
        self._told_of[wanted.step_id] = answer.warnings
        return answer

    def told(self) -> Iterator[tuple[str, str]]:
        """What there was to warn of when the last plan was made, each with its step."""
        return ((step_id, text) for step_id, warnings in self._told_of.items() for text in warnings)

    def _answer(self, wanted: Wanted) -> Answer:
        warnings: list[str] = []
        for candidate in self._candidates(wanted):
            for repository in self.repositories:
                tag = _tag(repository, candidate.wanted)
                if str(tag) not in self._found:
                    begun = time.monotonic()
                    self._note(repository, tag, self._asked(repository, tag, begun))
                    self._left_seconds -= time.monotonic() - begun
                try:
                    offer = self._offer(candidate, tag)
                except SourceError as err:
                    warnings.append(f"{err.brief}: it is not taken")
                    continue
                warnings += [text] if (text := self._trouble(offer, tag)) else []
                if offer and offer.reference not in self.refused:
                    return Answer(offer, tuple(warnings))
        return Answer(None, tuple(warnings))

    def _trouble(self, offer: Offer | None, tag: Reference) -> str | None:
        return self.refused.get(offer.reference) if offer else self._found[str(tag)].trouble

    def refuse(self, offer: Offer, why: str) -> None:
        """Offer this no more, and say why."""
        self.refused[offer.reference] = why

    def _candidates(self, wanted: Wanted) -> Iterator[_Candidate]:
        """What is wanted itself, then what the same recipe gave with other tools."""
        step_id = StepId(wanted.step_id)
        known = self.locked.get(step_id.name, {})
        own = known.get(wanted.fingerprint)
        if own or self.trust:
            yield _Candidate(wanted, own.digest if own else None)
        for digits, entry in known.items():
            tools = {name: entry.tools.get(name, "") for name in host_tools(wanted.recipe)}
            recipe = replace(wanted.recipe, tools={**wanted.recipe.tools, **tools})
            if digits != wanted.fingerprint and entry.part == step_id.part and fingerprint(recipe) == digits:
                yield _Candidate(Wanted(wanted.step_id, recipe, digits), entry.digest)

    def _asked(self, repository: Repository, tag: Reference, begun: float) -> _Found:
        """What a registry has under a tag, with its first failure told once."""
        left = self._left_seconds - (time.monotonic() - begun)
        if repository.registry in self._down:
            return _Found()
        if left <= 0:
            return _Found(
                trouble=self._told(repository, f"was not asked, as {ASK_SECONDS:g} seconds were over")
            )
        command = skopeo.inspect_digest(tag, environ=os.environ, retries=0)
        try:
            said = skopeo.run(replace(command, timeout_seconds=left), tag)
        except SourceError as err:
            if skopeo.is_missing(err):
                return _Found()
            return _Found(trouble=self._told(repository, why(err, str(tag))))
        except ToolError as err:
            late = f"gave no answer within {ASK_SECONDS:g} seconds"
            return _Found(trouble=self._told(repository, late if _is_timeout(err) else err.brief))
        return _Found(skopeo.document_in(said.output))

    def _told(self, repository: Repository, why: str) -> str:
        return f"the cache 'docker://{repository.name}' can't be used: {why}"

    def _note(self, repository: Repository, tag: Reference, found: _Found) -> None:
        if found.trouble and repository.registry in self._down:
            found = _Found()  # it was said already
        elif found.trouble:
            self._down.add(repository.registry)
        self._found[str(tag)] = found

    def _offer(self, candidate: _Candidate, tag: Reference) -> Offer | None:
        """What a registry has, if it may be believed.

        Raises:
            SourceError: it is not what the lock file says, or no artifact.
        """
        data = self._found[str(tag)].data
        if data is None:
            return None
        manifest = parse_manifest(data, str(tag))
        if candidate.digest and manifest.description != candidate.digest:
            raise SourceError(f"'{tag}' is not what bangerbuild.lock says")
        _, recipe, digits = candidate.wanted
        reference = str(tag.pinned(SHA256 + sha256(data)))
        self.manifests[reference] = manifest
        total = sum(manifest.blobs.values())
        return Offer(reference, str(tag), recipe, digits, total, candidate.digest)


def _tag(repository: Repository, wanted: Wanted) -> Reference:
    return repository.of(StepId(wanted.step_id).name, wanted.fingerprint)


def why(err: BangerError, subject: str) -> str:
    """What a registry failed at, on one line, in skopeo's own words where no others are known.

    `subject` is what the error is about, and is not named again.
    """
    brief = err.brief.removeprefix(f"'{subject}' ")
    said = (err.details or "").strip().splitlines()
    return f"{brief}: {said[-1].strip()}" if said and brief in UNEXPLAINED else brief


def _is_timeout(err: ToolError) -> bool:
    return "did not end within" in err.brief
