"""The manifests that an index lists, and which of them stands for a platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci import mediatypes
from bangerbuild.formats.oci.config import platform_of
from bangerbuild.formats.oci.platforms import Platform, best

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bangerbuild.formats.oci.blobs import Descriptor
    from bangerbuild.formats.oci.documents import Document


@dataclass(frozen=True)
class Candidate:
    """A manifest that may be the one."""

    manifest: Descriptor
    platform: Platform | None
    """None where nothing says what it is for."""


def listed(index: Document) -> tuple[Candidate, ...]:
    """The manifests that an index lists itself, by what it says of their platforms."""
    return tuple(
        Candidate(entry.descriptor(), platform_of(entry.table("platform")))
        for entry in index.tables("manifests")
        if entry.text("mediaType") in mediatypes.MANIFESTS
    )


def choose(
    found: Sequence[Candidate], wanted: Platform, written: str, *, others: Collection[str] = ()
) -> Candidate:
    """The one that does best for a platform; or the only one, if nothing says what it is for.

    Args:
        found: all of them.
        wanted: what the image must run on.
        written: what messages call the image.
        others: media types that were met beside them.

    Raises:
        SourceError: none does.
    """
    chosen = best(wanted, [candidate.platform for candidate in found])
    if chosen is not None:
        return found[chosen]
    if len(found) == 1 and found[0].platform is None:
        return found[0]
    platforms = sorted({str(one.platform) for one in found if one.platform and one.platform.is_known})
    if platforms:
        raise SourceError(
            f"{written!r} has no image for '{wanted}'",
            hint=f"it has {', '.join(map(repr, platforms))}; say which with `platform`",
        )
    if not mediatypes.OLD_MANIFESTS.isdisjoint(others):
        raise SourceError(
            f"{written!r} is an image of Docker's old schema 1",
            hint="convert it with `skopeo copy --format oci`",
        )
    what = ", ".join(map(repr, sorted(others))) or "manifests that say no platform"
    raise SourceError(f"{written!r} holds no image for '{wanted}' but {what}")
