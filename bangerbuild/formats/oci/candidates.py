"""Choose, among the manifests that an image index lists, the one for a platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci import mediatypes
from bangerbuild.formats.oci.config import platform_of
from bangerbuild.formats.oci.documents import quoted_list
from bangerbuild.formats.oci.platforms import Platform, best

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bangerbuild.formats.oci.blobs import Descriptor
    from bangerbuild.formats.oci.documents import Document


@dataclass(frozen=True)
class Candidate:
    """A manifest to choose from."""

    manifest: Descriptor
    platform: Platform | None
    """None if the platform is not stated anywhere."""


def listed(index: Document) -> tuple[Candidate, ...]:
    """The manifests that an index lists directly, with the platforms that it states."""
    return tuple(
        Candidate(entry.descriptor(), platform_of(entry.table("platform")))
        for entry in index.tables("manifests")
        if entry.text("mediaType") in mediatypes.MANIFESTS
    )


def choose(
    found: Sequence[Candidate], wanted: Platform, written: str, *, others: Collection[str] = ()
) -> Candidate:
    """The best candidate for a platform; or the only candidate, if no platform is stated.

    Args:
        found: all candidates.
        wanted: the platform that the image must run on.
        written: the image's name in messages.
        others: media types of other entries of the index.

    Raises:
        SourceError: no candidate fits.
    """
    chosen = best(wanted, [candidate.platform for candidate in found])
    if chosen is not None:
        return found[chosen]
    if len(found) == 1 and found[0].platform is None:
        return found[0]
    platforms = sorted({str(one.platform) for one in found if one.platform and one.platform.is_known})
    if platforms:
        raise SourceError(
            f"'{written}' has no image for '{wanted}'",
            hint=f"it has {quoted_list(platforms)}; say which with `platform`",
        )
    if not mediatypes.OLD_MANIFESTS.isdisjoint(others):
        raise SourceError(
            f"'{written}' is an image of Docker's old schema 1",
            hint="convert it with `skopeo copy --format oci`",
        )
    what = quoted_list(sorted(others)) or "manifests that say no platform"
    raise SourceError(f"'{written}' holds no image for '{wanted}' but {what}")
