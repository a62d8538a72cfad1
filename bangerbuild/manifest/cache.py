"""`[cache]`: where built images are looked for, and where they are pushed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.cache_registry.repository import Repository
from bangerbuild.declared import Cache
from bangerbuild.errors import SourceError
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.problems import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.manifest.files import ManifestFile
    from bangerbuild.manifest.problems import Findings


def cache(documents: Sequence[ManifestFile], findings: Findings) -> Cache:
    """The caches of a manifest; one of its files may name them."""
    having = [document for document in documents if isinstance(document.tree.get("cache"), dict)]
    for document in having[1:]:
        hint = f"put it into one of them; the first is in {having[0].path}"
        findings.add(Location(document, ("cache",)), "only one manifest may have [cache]", hint)
    if not having:
        return Cache()
    place, table = Location(having[0], ("cache",)), having[0].tree["cache"]
    listed = enumerate(table.get("pull", ()))
    pull = tuple(findings.attempt(place / "pull" / index, _checked, text, "") for index, text in listed)
    push = table.get("push")
    if push is not None:
        push = findings.attempt(place / "push", _checked, push, "")
    return Cache(tuple(dict.fromkeys(filter(None, pull))), push, table.get("trust", False))


def _checked(address: str) -> str:
    try:
        Repository.parse(address)
    except SourceError as err:
        raise InvalidValueError(err.brief, err.hint) from err
    return address
