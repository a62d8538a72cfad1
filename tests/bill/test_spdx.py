"""SPDX documents, judged by the reference implementation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from bangerbuild.bill import spdx
from bangerbuild.bill.installed import Distribution, Package

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = Distribution("debian", "12", "Debian GNU/Linux 12 (bookworm)")
CURL = Package("deb", "libc++1", "1:14.0-3~a", "amd64", "llvm", "14.0", "LLVM Team <a@example.org>", "")
MUSL = Package("apk", "musl", "1.2.4-r2", "x86_64", "musl", "1.2.4-r2", "", "MIT AND (odd")
HOSTILE = Package("deb", "a\x1b[2J b#?", '"\\\n', "", "", "", "<<>>", "")


def made(*packages: Package, system: Distribution = DEBIAN) -> str:
    image = spdx.Described("web", "f00d", system)
    return spdx.text(spdx.document(image, packages, epoch=946_684_800, version="1.2"))


def test_a_document_is_valid_whatever_is_in_the_image(tmp_path: Path) -> None:
    for number, text in enumerate((made(CURL, MUSL, HOSTILE), made(), made(MUSL, system=Distribution()))):
        path = tmp_path / f"{number}.spdx.json"
        path.write_text(text)
        assert validate_full_spdx_document(parse_file(str(path))) == []


def test_a_package_has_the_url_by_which_advisories_name_it() -> None:
    _, curl, musl = json.loads(made(CURL, MUSL))["packages"]
    urls = [one["externalRefs"][0]["referenceLocator"] for one in (curl, musl)]
    assert urls[0] == "pkg:deb/debian/libc%2B%2B1@1:14.0-3~a?arch=amd64&distro=debian-12"
    assert urls[1] == "pkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12"
    assert curl["supplier"] == "Organization: LLVM Team (a@example.org)"
    assert curl["sourceInfo"] == "built from llvm 14.0"
    assert musl["licenseComments"] == "the database of packages says: MIT AND (odd"


def test_the_same_image_has_the_same_document_and_another_one_another_name() -> None:
    assert made(CURL) == made(CURL)
    names = {json.loads(text)["documentNamespace"] for text in (made(CURL), made(CURL, MUSL), made())}
    assert len(names) == 3


def test_nothing_out_of_an_image_can_move_a_cursor() -> None:
    assert "\\u001b" not in made(HOSTILE)
    assert "\x1b" not in made(HOSTILE)
