"""What is in an image as an SPDX 2.3 document, in JSON. The same image gives the same bytes.

The fields are those of the SPDX specification, version 2.3, packages named by package URLs (purl).
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from bangerbuild.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.bill.installed import Distribution, Package

UNKNOWN = "NOASSERTION"
DOCUMENT, IMAGE = "SPDXRef-DOCUMENT", "SPDXRef-Image"
_NAMESPACE = uuid.UUID("a6d1f6de-4d5a-5b9c-8f0e-0c2f6d4f5a11")
"""Of the names of documents: a UUID of our own, so that no other tool's can be the same."""
_PERSON = re.compile(r"([^<>]+?)\s*<([^<>]+)>")


class Described(NamedTuple):
    """The image."""

    name: str
    fingerprint: str
    system: Distribution


def document(image: Described, packages: Sequence[Package], *, epoch: int, version: str) -> dict[str, Any]:
    """The document.

    Args:
        image: what it is about.
        packages: what is in it, sorted.
        epoch: the time that the document has, in seconds since 1970.
        version: of this program.
    """
    listed = [_package(number, one, image) for number, one in enumerate(packages, 1)]
    content = json.dumps([*image[:2], asdict(image.system), *map(asdict, packages)])
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": f"image.{image.name}",
        "documentNamespace": f"urn:uuid:{uuid.uuid5(_NAMESPACE, content)}",
        "creationInfo": {
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "creators": [f"Tool: bangerbuild-{version}"],
        },
        "packages": [_image(image), *listed],
        "relationships": [
            _relationship(DOCUMENT, "DESCRIBES", IMAGE),
            *(_relationship(IMAGE, "CONTAINS", one["SPDXID"]) for one in listed),
        ],
    }


def text(found: dict[str, Any]) -> str:
    """A document as it is printed."""
    return json.dumps(found, indent=2, ensure_ascii=False)


def _relationship(subject: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": subject, "relationshipType": kind, "relatedSpdxElement": other}


def _image(image: Described) -> dict[str, Any]:
    about = {"summary": _shown(image.system.title)} if image.system.title else {}
    return {
        "SPDXID": IMAGE,
        "name": image.name,
        "versionInfo": image.fingerprint,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        **about,
        **_UNSAID,
    }


def _package(number: int, one: Package, image: Described) -> dict[str, Any]:
    said = f"the database of packages says: {_shown(one.licence)}"
    licence = {"licenseComments": said} if one.licence else {}
    return {
        "SPDXID": f"SPDXRef-Package-{number}",
        "name": _shown(one.name),
        "versionInfo": _shown(one.version),
        "supplier": _supplier(one.maintainer),
        "sourceInfo": f"built from {_shown(one.source)} {_shown(one.source_version)}",
        **licence,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": _purl(one, image),
            }
        ],
        **_UNSAID,
    }


_UNSAID = {
    "downloadLocation": UNKNOWN,
    "filesAnalyzed": False,
    "licenseConcluded": UNKNOWN,
    "licenseDeclared": UNKNOWN,
    "copyrightText": UNKNOWN,
}
"""What no database of packages says in SPDX's words."""


def _supplier(maintainer: str) -> str:
    if found := _PERSON.fullmatch(_shown(maintainer)):
        return f"Organization: {found[1]} ({found[2]})"
    return UNKNOWN


def _purl(one: Package, image: Described) -> str:
    """`pkg:deb/debian/curl@7.88.1-10?arch=amd64&distro=debian-12`."""
    system = image.system
    of = f"{_quoted(system.name)}/" if system.name else ""
    release = f"{system.name}-{system.version}" if system.name and system.version else ""
    qualifiers = {"arch": one.architecture, "distro": release}
    said = "&".join(f"{key}={_quoted(value)}" for key, value in qualifiers.items() if value)
    return f"pkg:{one.kind}/{of}{_quoted(one.name)}@{_quoted(one.version)}{'?' if said else ''}{said}"


def _quoted(value: str) -> str:
    return quote(value, safe="-._~:")


def _shown(value: str) -> str:
    """A text out of an image, in which nothing can move a cursor."""
    return printable(value).strip() or UNKNOWN
