"""What one node is sent: its part of the manifest, the lock file's part for it, and how the work is done.

A share is a value that `documents` writes. Two things in it mean something on one machine only: files of the
controller stand in it by the keys of the objects that the node was sent (`host_files`), and secrets by their
number in a table that only this share has.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import DocumentError, Paths
from bangerbuild.declared import Manifest  # noqa: TC001  # `documents` reads the annotations
from bangerbuild.host.secrets import SecretError
from bangerbuild.model import HostPath, Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.model import Json

Work = Literal["plan", "apply", "status", "verify"]
"""What a node is asked to do."""
MOST_BYTES = 1 << 30
"""Of one share, unpacked."""


@dataclass(frozen=True)
class ShareOptions:
    """How a share is done; the same for all nodes, but for what is named in it."""

    work: Work
    targets: tuple[str, ...] = ()
    """Ids of steps on this node; empty: all."""
    replace: tuple[str, ...] = ()
    """Ids of steps on this node that are made anew."""
    offline: bool = False
    jobs: int | None = None
    """None: as many as the node has cores."""
    keep_going: bool = False
    lock_seconds: float | int = 60
    previews: bool = True
    rebuilds: bool = False
    """Whether `verify` makes images again."""
    pushes: bool = False
    """Whether images are pushed once they are built."""
    epoch: int | None = None
    """The controller's SOURCE_DATE_EPOCH, which decides bytes."""


@dataclass(frozen=True)
class Share:
    """One node's share."""

    run: str
    """Names the run that it is part of."""
    node: str
    version: str
    """Of bangerbuild, on the machine that sends it."""
    store: str
    """The node's store; a relative path counts from where its worker was started."""
    manifests: tuple[str, ...]
    """What the store remembers as the manifests that declare this, counted likewise."""
    manifest: Manifest
    """With what this node needs, and nothing else."""
    lock: str
    """The text of a lock file with the entries of this node's images and VMs."""
    options: ShareOptions
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """In base64, by their numbers."""


@dataclass(frozen=True)
class GivenSecret:
    """A secret that came with the share."""

    number: int
    written: str
    """What the manifest says of where it comes from, for messages."""
    content: bytes | None = field(repr=False)
    """None: it is not needed for what is done."""

    def read(self) -> bytes:
        """The secret.

        Raises:
            SecretError: it was not sent.
        """
        if self.content is None:
            raise SecretError(f"{self.written} was not sent to this node")
        return self.content


def packed(share: Share, key_of: Callable[[HostPath], str], secrets: dict[object, int]) -> bytes:
    """A share as a message.

    Args:
        share: what is sent.
        key_of: the key of the object that holds a file or directory.
        secrets: the numbers of its secrets, by their origins; one that is not there is not sent.
    """

    def to_json(value: Any) -> Json:  # noqa: ANN401  # a HostPath or a Secret
        if isinstance(value, HostPath):
            return {"object": key_of(value), "written": value.written}
        number = secrets.get(value.origin, -1)
        said = {"file": value.file, "line": value.line, "key": value.key}
        return {"secret": number, "written": value.origin.written, **said}

    document = documents.encoded(share, Paths(to_json, documents.NOTHING_LOCAL.from_json))
    return documents.written(document)


def unpacked(message: bytes, path_of: Callable[[str], Path]) -> Share:
    """The share of a message; `path_of` says where this node keeps the object of a key.

    Raises:
        DocumentError: it is none.
    """
    document = documents.parsed(message, MOST_BYTES)
    secrets = document.get("secrets", [])

    def from_json(kind: type, found: Json) -> object:
        if kind is HostPath:
            return HostPath(path_of(_text(found, "object")), _text(found, "written"))
        number = found.get("secret") if isinstance(found, dict) else None
        line = found.get("line") if isinstance(found, dict) else None
        if not isinstance(number, int) or not isinstance(line, int) or number >= len(secrets):
            raise DocumentError("a message has a secret that is none")
        content = _from_base64(secrets[number]) if number >= 0 else None
        origin = GivenSecret(number, _text(found, "written"), content)
        return Secret(origin, _text(found, "file"), line, _text(found, "key"))

    return documents.decoded(Share, document, Paths(documents.NOTHING_LOCAL.to_json, from_json), "share")


def _text(document: Json, key: str) -> str:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, str):
        raise DocumentError(f"a message lacks the text '{key}'")
    return found


def _from_base64(text: object) -> bytes:
    try:
        return base64.b64decode(cast("str", text), validate=True)
    except (binascii.Error, TypeError, ValueError) as err:
        raise DocumentError("a message has a secret that is no base64") from err
