"""Image references: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `docker://NAME`.

The syntax is that of skopeo and podman (containers-transports(5)); names in registries are completed as
Docker does (github.com/distribution/reference): `docker://debian` is `docker.io/library/debian:latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bangerbuild.errors import SourceError

LAYOUT, OCI_ARCHIVE, DOCKER_ARCHIVE, REGISTRY = "oci", "oci-archive", "docker-archive", "docker"
_DEFAULT_REGISTRY, _DEFAULT_TAG = "docker.io", "latest"
_OFFICIAL = "library"
_REGISTRY_START = "docker://"
_KNOWN = "write it like 'docker://debian:12', 'oci:DIR:TAG', 'oci-archive:FILE' or 'docker-archive:FILE'"
_NAME_BYTES_MAX = 255

_LAYOUT_TAG = re.compile("[A-Za-z0-9]+(?:(?:[-._:@/+]|--)[A-Za-z0-9]+)*")
"""The image specification's grammar for `org.opencontainers.image.ref.name`."""
_ARCHIVE_TAG = re.compile("@[0-9]+|[A-Za-z0-9][-A-Za-z0-9_.:/@]*")
_FILE_TAGS = {LAYOUT: _LAYOUT_TAG, OCI_ARCHIVE: _LAYOUT_TAG, DOCKER_ARCHIVE: _ARCHIVE_TAG}
"""The transports that name a path, each with the grammar of the tag behind it."""
TRANSPORTS = (REGISTRY, *_FILE_TAGS)
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?)(?::[0-9]+)?")
_COMPONENT = re.compile("[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*")
_TAG = re.compile("[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}")
_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Reference:
    """A reference to one image."""

    transport: str
    """One of `TRANSPORTS`."""
    name: str
    """The path as written, or the registry with the repository: `docker.io/library/debian`."""
    tag: str | None = None
    """None: the file has one image only. A registry reference without a digest always has a tag."""
    digest: str | None = None
    """Of a manifest in a registry; it takes precedence over the tag."""

    def pinned(self, digest: str) -> Reference:
        """The reference to a digest in the same repository, without a tag."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        """In skopeo's syntax."""
        if self.digest:
            return f"{_REGISTRY_START}{self.name}@{self.digest}"
        if self.transport == REGISTRY:
            return f"{_REGISTRY_START}{self.name}:{self.tag}"
        return f"{self.transport}:{self.name}" + (f":{self.tag}" if self.tag else "")


def parse_reference(text: str) -> Reference:
    """Parse a reference.

    Raises:
        SourceError: it is no reference; the hint shows the syntax.
    """
    transport, colon, rest = text.partition(":")
    if colon and transport in _FILE_TAGS:
        return _file_reference(text, transport, rest)
    if text.startswith(_REGISTRY_START):
        return _registry_reference(text, text.removeprefix(_REGISTRY_START))
    raise SourceError(f"'{text}' names no image", hint=_way_out(text))


def parse_name(text: str) -> Reference:
    """Parse a registry reference without `docker://`; SourceError as `parse_reference`."""
    return _registry_reference(text, text)


def is_component(text: str) -> bool:
    """Whether a text can be a part of the name of a repository."""
    return _COMPONENT.fullmatch(text) is not None


def _way_out(text: str) -> str:
    try:
        return f"is it 'docker://{text}'? else {_KNOWN}" if _registry_reference(text, text) else _KNOWN
    except SourceError:
        return _KNOWN


def _file_reference(text: str, transport: str, rest: str) -> Reference:
    path, colon, tag = rest.partition(":")
    if not path or "\0" in path:
        raise SourceError(f"'{text}' names no file", hint=f"write it like '{transport}:PATH:TAG'")
    if colon and not _FILE_TAGS[transport].fullmatch(tag):
        raise SourceError(
            f"'{text}' has a tag that is none: '{tag}'",
            hint="a tag begins with a letter or digit; a path can't have ':' in it",
        )
    return Reference(transport, path, tag or None)


def _registry_reference(text: str, rest: str) -> Reference:
    rest, at, digest = rest.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise SourceError(
            f"'{text}' has a digest that is none: '{digest}'", hint="write '@sha256:…', 64 digits"
        )
    above, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise SourceError(
            f"'{text}' has a tag that is none: '{tag}'", hint="a tag has letters, digits, '_', '.' and '-'"
        )
    name = _full_name(text, above + slash + last)
    if not tag and not digest:
        tag = _DEFAULT_TAG
    return Reference(REGISTRY, name, tag or None, digest or None)


def _full_name(text: str, name: str) -> str:
    """The name with its registry, and with `library/` for Docker's official images."""
    host, slash, path = name.partition("/")
    if not slash or not (set(host) & set(".:[") or host == "localhost" or host != host.lower()):
        host, path = _DEFAULT_REGISTRY, name
    if host == "index.docker.io":
        host = _DEFAULT_REGISTRY
    if host == _DEFAULT_REGISTRY and "/" not in path:
        path = f"{_OFFICIAL}/{path}"
    components = path.split("/")
    wrong = next((part for part in components if not _COMPONENT.fullmatch(part)), None)
    if wrong is not None or not _HOST.fullmatch(host):
        what = f"registry '{host}'" if wrong is None else f"part '{wrong}'"
        raise SourceError(
            f"'{text}' names no image: its {what} is no name",
            hint="names are lower-case letters and digits, with '.', '_' or '-' between them",
        )
    if len(path) > _NAME_BYTES_MAX:
        raise SourceError(f"'{text}' names no image: a name has {_NAME_BYTES_MAX} bytes at most")
    return f"{host}/{path}"
