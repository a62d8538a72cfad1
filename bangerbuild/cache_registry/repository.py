"""Where artifacts lie in a registry: a repository for each image, and the fingerprint as the tag."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.reference import REGISTRY, Reference, is_component, parse_reference

ADDRESS_HINT = "write it like 'docker://registry.example/team/images', without a tag"
TAG = re.compile("[0-9a-f]{32}")
"""What the tags of artifacts look like, which are fingerprints."""
_DIGITS = 11


@dataclass(frozen=True)
class Repository:
    """The repositories of a team's images: what `[cache]` names."""

    name: str
    """With its registry, `registry.example/team/images`."""

    @classmethod
    def parse(cls, address: str) -> Repository:
        """The one that a manifest names.

        Raises:
            SourceError: it is no address of a repository.
        """
        if not address.strip("/").removeprefix(f"{REGISTRY}:"):
            raise SourceError(f"'{address}' names no registry", hint=ADDRESS_HINT)
        try:
            reference = parse_reference(f"{address.removesuffix('/')}/x")
        except SourceError as err:
            raise SourceError(f"'{address}' is no address of a registry's", hint=ADDRESS_HINT) from err
        if reference.transport != REGISTRY:
            raise SourceError(f"'{address}' is in no registry", hint=ADDRESS_HINT)
        return cls(reference.name.removesuffix("/x"))

    @property
    def registry(self) -> str:
        """The host, with its port."""
        return self.name.partition("/")[0]

    def of(self, image: str, tag: str = "latest") -> Reference:
        """The reference to a tag of an image."""
        return Reference(REGISTRY, f"{self.name}/{component(image)}", tag)


def component(image: str) -> str:
    """The last part of the repository of an image: its name, unless registries take no such name."""
    if is_component(image):
        return image
    return f"image-{hashlib.sha256(image.encode()).hexdigest()[:_DIGITS]}"
