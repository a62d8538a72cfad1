"""What a registry holds of images and nobody needs, and its removal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.cache_registry.repository import TAG
from bangerbuild.errors import SourceError
from bangerbuild.formats.oci import skopeo
from bangerbuild.formats.oci.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Collection

    from bangerbuild.cache_registry.repository import Repository


def surplus(repository: Repository, image: str, needed: Collection[str]) -> tuple[str, ...]:
    """The tags of an image that are fingerprints, and not of those that are needed.

    Raises:
        SourceError, ToolError: the registry gives no answer.
    """
    reference = repository.of(image)
    try:
        said = skopeo.run(skopeo.list_tags(reference, environ=os.environ), reference, "listed")
    except SourceError as err:
        if skopeo.is_missing(err):
            return ()
        raise
    tags = skopeo.tags_in(said.output, reference)
    unneeded = sorted(tag for tag in tags if TAG.fullmatch(tag) and tag not in needed)
    return tuple(str(repository.of(image, tag)) for tag in unneeded)


def remove(written: str) -> None:
    """Have a registry forget a tag; the room is free once the registry has collected its garbage.

    Raises:
        SourceError, ToolError: it does not.
    """
    reference = parse_reference(written)
    skopeo.run(skopeo.delete(reference, environ=os.environ), reference, "removed")
