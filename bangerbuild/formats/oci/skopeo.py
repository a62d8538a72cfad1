"""The program skopeo, which queries registries and copies images: its command lines and its errors.

The user's own configuration applies: credentials, mirrors, proxies and certificates are read from where
podman and skopeo read them (containers-auth.json(5), containers-registries.conf(5)).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.candidates import choose, listed
from bangerbuild.formats.oci.documents import parse_document
from bangerbuild.formats.oci.reference import REGISTRY
from bangerbuild.host import process
from bangerbuild.host.process import Command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.formats.oci.platforms import Platform
    from bangerbuild.formats.oci.reference import Reference
    from bangerbuild.host.process import Completed

RETRIES = 3
"""After 1, 2 and 4 seconds; skopeo retries only temporary errors."""
_OUTPUT_BYTES = 8 << 20
"""A manifest has at most 4 MiB."""
_INSPECT_SECONDS = 300
_CONFIGURATION = "CONTAINERS_REGISTRIES_CONF"
PASSED_ON = (
    *("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "TMPDIR"),
    *("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_*", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "PASSWORD_STORE_DIR", "AWS_*", "AZURE_*", "GOOGLE_*"),
)
"""Patterns of variables that are passed on; the last line is for credential helpers."""
_MESSAGE = re.compile(r'^time=\S+ level=(\w+) msg="(.*)"\n?', re.MULTILINE)


@dataclass(frozen=True)
class _SkopeoFailure:
    pattern: str
    """Matched against skopeo's error output."""
    brief: str
    """A predicate: what follows the reference."""
    hint: str | None = None


_MISSING = r"manifest unknown|name unknown|\b404\b"
_FAILURES = (
    _SkopeoFailure(
        r"\b405\b",
        "can't be changed: its registry takes nothing, or lets nothing be deleted",
        "is it a mirror, or read-only? docker-registry deletes with storage.delete.enabled",
    ),
    _SkopeoFailure(
        "toomanyrequests", "can't be fetched: its registry was asked too often", "wait, or log in"
    ),
    _SkopeoFailure(
        "no image found in (manifest|image) (list|index)|choosing image",
        "has no image for the platform",
        "say which with `platform`",
    ),
    _SkopeoFailure(
        _MISSING,
        "is not there: its registry knows no such name, tag or digest",
    ),
    _SkopeoFailure("permission denied", "can't be fetched: a file or directory may not be read or written"),
    _SkopeoFailure(
        r"unauthorized|authentication required|access to the resource is denied|username/password"
        r"|no basic auth|\b40[13]\b",
        "is not there, or only for those who log in",
        "is the name right? if it is private: `skopeo login REGISTRY`",
    ),
    _SkopeoFailure("no such host|server misbehaving", "can't be fetched: its registry has no address"),
    _SkopeoFailure("connection refused", "can't be fetched: nothing answers where its registry should be"),
    _SkopeoFailure(
        "server gave HTTP response to HTTPS client",
        "can't be fetched: its registry speaks http and not https",
        "if that is as it must be: `insecure = true` for it in registries.conf(5)",
    ),
    _SkopeoFailure(
        "x509: |tls: ",
        "can't be fetched: its registry's certificate is not trusted",
        "put its authority into /etc/containers/certs.d/REGISTRY/ca.crt",
    ),
    _SkopeoFailure(
        "loading trust policy",
        "can't be fetched: skopeo finds no policy of what to trust",
        "apt install golang-github-containers-common",
    ),
    _SkopeoFailure(
        "i/o timeout|deadline exceeded|EOF|connection reset", "can't be fetched: the connection broke"
    ),
    _SkopeoFailure(r"no space left|\b507\b", "can't be fetched: there is no space left"),
)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the user's environment that skopeo gets."""
    return {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in PASSED_ON)
    }


def inspect_digest(reference: Reference, *, environ: Mapping[str, str], retries: int = RETRIES) -> Command:
    """The command that prints a reference's manifest or index; `digest_in` parses its output."""
    options = ("inspect", "--raw", f"--retry-times={retries}", str(reference))
    return _command(options, environ, timeout_seconds=_INSPECT_SECONDS)


def inspect_configuration(reference: Reference, *, environ: Mapping[str, str]) -> Command:
    """The command that prints the configuration of a reference."""
    options = ("inspect", "--config", "--raw", f"--retry-times={RETRIES}", str(reference))
    return _command(options, environ, timeout_seconds=_INSPECT_SECONDS)


def document_in(printed: str) -> bytes:
    """The document in the output of an inspect command, byte for byte."""
    return _MESSAGE.sub("", printed).encode()


def digest_in(printed: str, reference: Reference, platform: Platform) -> str:
    """The digest of the manifest for a platform, from the output of `inspect_digest`.

    Raises:
        SourceError: there is no manifest for the platform.
    """
    raw = document_in(printed)
    document = parse_document(raw, str(reference))
    if "manifests" in document.fields:
        return choose(listed(document), platform, str(reference)).manifest.digest
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def copy_to_layout(
    reference: Reference,
    layout: Path,
    platform: Platform,
    *,
    environ: Mapping[str, str],
) -> Command:
    """The command that copies one image into a layout, as its only image, without a tag.

    Layers keep their compression.

    Args:
        reference: of a registry.
        layout: missing or an empty directory; its parent exists. A failure leaves an incomplete image.
        platform: selects an image of an index.
        environ: the user's environment.

    Raises:
        SourceError: the path has a ':', which skopeo would split at.
    """
    if ":" in str(layout):
        raise SourceError(
            f"'{layout}' has a ':' in it, and skopeo takes what follows for a tag",
            hint="give the directory another name",
        )
    which = [f"--override-os={platform.os}", f"--override-arch={platform.architecture}"]
    if platform.variant:
        which.append(f"--override-variant={platform.variant}")
    options = (
        *which,
        "copy",
        "--quiet",
        f"--retry-times={RETRIES}",
        "--remove-signatures",  # the policy has verified them by then, and a layout can't hold them
        "--dest-oci-accept-uncompressed-layers",
        str(reference),
        f"oci:{layout}",
    )
    return _command(options, environ)


def copy_from_layout(layout: Path, reference: Reference, *, environ: Mapping[str, str]) -> Command:
    """The command that copies the only image of a layout into a registry, byte for byte."""
    options = (
        *("copy", "--quiet", "--preserve-digests", f"--retry-times={RETRIES}"),
        *(f"oci:{layout}", str(reference)),
    )
    return _command(options, environ)


def list_tags(reference: Reference, *, environ: Mapping[str, str]) -> Command:
    """The command that prints the tags of a reference's repository; `tags_in` parses its output."""
    options = ("list-tags", f"--retry-times={RETRIES}", f"{REGISTRY}://{reference.name}")
    return _command(options, environ, timeout_seconds=_INSPECT_SECONDS)


def delete(reference: Reference, *, environ: Mapping[str, str]) -> Command:
    """The command that has a registry forget the image of a tag."""
    options = ("delete", f"--retry-times={RETRIES}", str(reference))
    return _command(options, environ, timeout_seconds=_INSPECT_SECONDS)


def tags_in(printed: str, reference: Reference) -> tuple[str, ...]:
    """The tags in the output of `list_tags`."""
    return parse_document(document_in(printed), str(reference)).texts("Tags")


def run(command: Command, reference: Reference, participle: str = "fetched") -> Completed:
    """Run one of these commands; `participle` is what errors say that can't be done.

    Raises:
        ToolError: skopeo is missing, can't be started, or takes too long.
        SourceError: it failed; the brief names the reference and the reason.
    """
    completed = process.run(replace(command, ok=frozenset(range(256))))
    if completed.code != 0:
        raise failure(completed.output, reference, participle)
    return completed


def failure(printed: str, reference: Reference, participle: str = "fetched") -> SourceError:
    """The error for what skopeo printed before it failed."""
    messages = [match[2].replace('\\"', '"') for match in _MESSAGE.finditer(printed) if match[1] == "fatal"]
    details = "\n".join(messages) or printed.strip()
    said = details.replace(reference.name, "")  # the name itself may match a pattern
    for known in _FAILURES:
        if re.search(known.pattern, said):
            brief = known.brief.replace("fetched", participle)
            return SourceError(f"'{reference}' {brief}", details=details, hint=known.hint)
    return SourceError(f"'{reference}' can't be {participle}", details=details)


def is_missing(err: SourceError) -> bool:
    """Whether a registry said that it has no such name, tag or digest."""
    return re.search(_MISSING, err.details or "") is not None


def _command(
    options: tuple[str, ...], environ: Mapping[str, str], *, timeout_seconds: float | None = None
) -> Command:
    """A skopeo command; older versions take the registries' configuration only as an option."""
    configuration = environ.get(_CONFIGURATION)
    own = (f"--registries-conf={configuration}",) if configuration else ()
    return Command(
        ("skopeo", *own, *options),
        env=environment(environ),
        timeout_seconds=timeout_seconds,
        output_bytes=_OUTPUT_BYTES,
    )
