"""Blobs of an image layout: files named by their digest, believed only when they were compared with it.

The layout keeps them as `blobs/ALGORITHM/HEX` (the specification's image-layout.md).
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.errors import SourceError
from bangerbuild.sources.hostfile import check_is_file, opened_file, unreadable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

DAMAGED_HINT = "the image is damaged: fetch or copy it again"
_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Descriptor:
    """What a document says of a blob: its kind, digest and size."""

    media_type: str
    digest: str
    """`sha256:…` or `sha512:…`, in lower-case hex."""
    size_bytes: int


def is_digest(text: str) -> bool:
    """Whether it is a digest of a kind that is compared here."""
    return _DIGEST.fullmatch(text) is not None


def algorithm_of(digest: str) -> str:
    """The name that hashlib has for the algorithm of a digest."""
    return digest.partition(":")[0]


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout has the blob of this digest."""
    return layout.joinpath("blobs", *digest.split(":"))


def check_present(layout: Path, blob: Descriptor, written: str) -> None:
    """Raises a SourceError if the blob is not there, or has another size. Nothing is read."""
    path = blob_path(layout, blob.digest)
    if not path.exists():
        raise SourceError(
            f"{written!r} is not there: the layout has no blob '{blob.digest}'", hint=DAMAGED_HINT
        )
    _check_size(check_is_file(path, written), blob, written)


@contextmanager
def opened_blob(layout: Path, blob: Descriptor, written: str) -> Iterator[BinaryIO]:
    """The blob at its start, its size and digest compared before anybody sees a byte.

    Raises:
        SourceError: it is not there, or not what its descriptor says.
    """
    check_present(layout, blob, written)
    with opened_file(blob_path(layout, blob.digest), written) as file:
        found = digest_of(file, algorithm_of(blob.digest), written)
        if found != blob.digest:
            raise SourceError(
                f"{written!r} is not what it must be: its digest is {found!r}, not {blob.digest!r}",
                hint=DAMAGED_HINT,
            )
        file.seek(0)
        yield file


def read_blob(layout: Path, blob: Descriptor, written: str, *, limit_bytes: int) -> bytes:
    """All of a blob that has to be held in memory; SourceError also if it is larger than `limit_bytes`."""
    if blob.size_bytes > limit_bytes:
        raise SourceError(f"{written!r} has {blob.size_bytes} bytes; {limit_bytes} is the most that is read")
    with opened_blob(layout, blob, written) as file:
        return file.read(limit_bytes)


def _check_size(found: os.stat_result, blob: Descriptor, written: str) -> None:
    if found.st_size != blob.size_bytes:
        raise SourceError(
            f"{written!r} is not what it must be: it has {found.st_size} bytes, not {blob.size_bytes}",
            hint=DAMAGED_HINT,
        )


def digest_of(file: BinaryIO, algorithm: str, written: str) -> str:
    """The digest of a whole file, as descriptors have it; the file is then at its end."""
    digest = hashlib.new(algorithm)
    try:
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    except OSError as err:
        raise unreadable(err, written) from err
    return f"{algorithm}:{digest.hexdigest()}"
