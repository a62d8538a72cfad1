"""The packages that are installed in a guest, as its own package databases have them: dpkg's and apk's.

dpkg(1) keeps /var/lib/dpkg/status, a stanza of fields for each package, as deb-control(5) describes; images
without a package manager have a file for each package in status.d instead. apk keeps /lib/apk/db/installed,
lines of a letter and a value, with an empty line between packages (apk-tools, src/database.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

DPKG = "/var/lib/dpkg/status"
DPKG_PARTS = "/var/lib/dpkg/status.d"
APK = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
UNREAD = {
    "/var/lib/rpm/rpmdb.sqlite": "rpm",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite": "rpm",
    "/var/lib/rpm/Packages": "rpm",
    "/var/lib/pacman/local": "pacman",
}
"""Databases that are known, and can't be read."""
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_INSTALLED = "installed"
"""The last word of the status of a package that is there; others are half there, or only configured."""


class Files(Protocol):
    """What is read of a guest; a filesystem is one. Symlinks are followed inside the guest."""

    def read(self, path: str, /) -> bytes | None:
        """The content of a file, or None."""

    def listdir(self, path: str, /) -> list[str] | None:
        """The names in a directory, or None."""

    def exists(self, path: str, /) -> bool:
        """Whether something is there."""


@dataclass(frozen=True, order=True)
class Package:
    """One installed package."""

    kind: str
    """`deb` or `apk`, as package URLs have it."""
    name: str
    version: str
    architecture: str
    source: str
    """The package that it was built from."""
    source_version: str
    maintainer: str
    """`Name <address>`, or empty."""
    licence: str
    """As the database has it, in whatever language; empty where it has none."""


@dataclass(frozen=True)
class Distribution:
    """What a guest says that it is, in os-release(5); empty texts where it does not."""

    name: str = ""
    """ID: `debian`."""
    version: str = ""
    """VERSION_ID: `12`."""
    title: str = ""
    """PRETTY_NAME."""


def packages(files: Files) -> tuple[Package, ...]:
    """All packages, sorted.

    Raises:
        SourceError: there is no database, or only one that can't be read.
        FilesystemError: a database can't be read.
    """
    found = {*_debian(files), *_alpine(files)}
    if found:
        return tuple(sorted(found))
    for path, manager in UNREAD.items():
        if files.exists(path):
            raise SourceError(
                f"the packages of the image are in a database of {manager}, which is not read",
                hint="dpkg's and apk's are; ask the guest itself",
            )
    raise SourceError(
        "the image has no database of packages",
        hint=f"{DPKG} and {APK[0]} are looked for: say what is in an image of other origin where it is made",
    )


def distribution(files: Files) -> Distribution:
    """What a guest says that it is."""
    for path in OS_RELEASE:
        if (content := files.read(path)) is not None:
            pairs = (line.partition("=") for line in _text(content).splitlines())
            values = {key: value.strip().strip("\"'") for key, equals, value in pairs if equals}
            return Distribution(*(values.get(key, "") for key in ("ID", "VERSION_ID", "PRETTY_NAME")))
    return Distribution()


def _debian(files: Files) -> Iterator[Package]:
    for stanza in _stanzas(_text(files.read(DPKG) or b"")):
        if stanza.get("status", "").rpartition(" ")[2] == _INSTALLED:
            yield _of_stanza(stanza)
    for name in files.listdir(DPKG_PARTS) or ():
        if not name.endswith(".md5sums"):
            content = _text(files.read(f"{DPKG_PARTS}/{name}") or b"")
            yield from (_of_stanza(stanza) for stanza in _stanzas(content))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The fields of each stanza, by their names in lower case; lines that go on are left out."""
    for stanza in text.split("\n\n"):
        pairs = (line.partition(":") for line in stanza.splitlines() if line[:1].strip())
        fields = {name.lower(): value.strip() for name, colon, value in pairs if colon}
        if fields.get("package") and fields.get("version"):
            yield fields


def _of_stanza(stanza: dict[str, str]) -> Package:
    name, version = stanza["package"], stanza["version"]
    source, _, rest = stanza.get("source", name).partition(" ")
    return Package(
        "deb",
        name,
        version,
        stanza.get("architecture", ""),
        source,
        rest.strip("() ") or version,
        stanza.get("maintainer", ""),
        "",
    )


def _alpine(files: Files) -> Iterator[Package]:
    content = next((found for path in APK if (found := files.read(path)) is not None), b"")
    for stanza in _text(content).split("\n\n"):
        # a file of the package begins with F: and has letters of its own
        head = stanza.partition("\nF:")[0].splitlines()
        fields = {line[:1]: line[2:].strip() for line in head if line[1:2] == ":"}
        name, version = fields.get("P"), fields.get("V")
        if name and version:
            more = (fields.get(letter, "") for letter in "mL")
            yield Package("apk", name, version, fields.get("A", ""), fields.get("o", name), version, *more)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").replace("\r\n", "\n")
