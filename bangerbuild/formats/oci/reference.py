"""What names an image: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `docker://NAME`.

The spelling is that of skopeo and podman (containers-transports(5)); names of registries are read as Docker
reads them (github.com/distribution/reference): `docker://debian` is `docker.io/library/debian:latest`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bangerbuild.errors import SourceError

LAYOUT, OCI_ARCHIVE, DOCKER_ARCHIVE, REGISTRY = "oci", "oci-archive", "docker-archive", "docker"
_FILES = (LAYOUT, OCI_ARCHIVE, DOCKER_ARCHIVE)
_DEFAULT_REGISTRY, _DEFAULT_TAG = "docker.io", "latest"
_OFFICIAL = "library"
_REGISTRY_START = "docker://"
_KNOWN = "write it like 'docker://debian:12', 'oci:DIR:TAG', 'oci-archive:FILE' or 'docker-archive:FILE'"
_NAME_BYTES_MAX = 255

_LAYOUT_TAG = re.compile("[A-Za-z0-9]+(?:(?:[-._:@/+]|--)[A-Za-z0-9]+)*")
"""The image specification's grammar for `org.opencontainers.image.ref.name`."""
_ARCHIVE_TAG = re.compile("@[0-9]+|[A-Za-z0-9][-A-Za-z0-9_.:/@]*")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?)(?::[0-9]+)?")
_COMPONENT = re.compile("[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*")
_TAG = re.compile("[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}")
_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True)
class Reference:
    """One image, as it is named."""

    transport: str
    """`oci`, `oci-archive`, `docker-archive` or `docker`."""
    name: str
    """The path as it was written, or a registry's name with its repository: `docker.io/library/debian`."""
    tag: str | None = None
    """None: the only image there is; a registry's reference without a digest always has one."""
    digest: str | None = None
    """Of a registry's manifest; it counts, and not the tag."""

    def pinned(self, digest: str) -> Reference:
        """What a registry has under this digest, whatever its tag may name by now."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        """As skopeo takes it."""
        if self.digest:
            return f"{_REGISTRY_START}{self.name}@{self.digest}"
        if self.transport == REGISTRY:
            return f"{_REGISTRY_START}{self.name}:{self.tag}"
        return f"{self.transport}:{self.name}" + (f":{self.tag}" if self.tag else "")


def parse_reference(text: str) -> Reference:
    """The image that `text` names.

    Raises:
        SourceError: it is no reference; the hint is how to write it.
    """
    transport, colon, rest = text.partition(":")
    if colon and transport in _FILES:
        return _file_reference(text, transport, rest)
    if text.startswith(_REGISTRY_START):
        return _registry_reference(text, text.removeprefix(_REGISTRY_START))
    raise SourceError(f"{text!r} names no image", hint=_way_out(text))


def parse_name(text: str) -> Reference:
    """What a registry's image is called, written without `docker://`; SourceError as `parse_reference`."""
    return _registry_reference(text, text)


def _way_out(text: str) -> str:
    try:
        return f"is it 'docker://{text}'? else {_KNOWN}" if _registry_reference(text, text) else _KNOWN
    except SourceError:
        return _KNOWN


def _file_reference(text: str, transport: str, rest: str) -> Reference:
    path, colon, tag = rest.partition(":")
    if not path or "\0" in path:
        raise SourceError(f"{text!r} names no file", hint=f"write it like '{transport}:PATH:TAG'")
    grammar = _LAYOUT_TAG if transport != DOCKER_ARCHIVE else _ARCHIVE_TAG
    if colon and not grammar.fullmatch(tag):
        raise SourceError(
            f"{text!r} has a tag that is none: {tag!r}",
            hint="a tag begins with a letter or digit; a path can't have ':' in it",
        )
    return Reference(transport, path, tag or None)


def _registry_reference(text: str, rest: str) -> Reference:
    rest, at, digest = rest.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise SourceError(
            f"{text!r} has a digest that is none: {digest!r}", hint="write '@sha256:…', 64 digits"
        )
    above, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise SourceError(
            f"{text!r} has a tag that is none: {tag!r}", hint="a tag has letters, digits, '_', '.' and '-'"
        )
    name = _full_name(text, above + slash + last)
    if not tag and not digest:
        tag = _DEFAULT_TAG
    return Reference(REGISTRY, name, tag or None, digest or None)


def _full_name(text: str, name: str) -> str:
    """With its registry, and the `library` of Docker's own images."""
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
        what = f"registry {host!r}" if wrong is None else f"part {wrong!r}"
        raise SourceError(
            f"{text!r} names no image: its {what} is no name",
            hint="names are lower-case letters and digits, with '.', '_' or '-' between them",
        )
    if len(path) > _NAME_BYTES_MAX:
        raise SourceError(f"{text!r} names no image: a name has {_NAME_BYTES_MAX} bytes at most")
    return f"{host}/{path}"
