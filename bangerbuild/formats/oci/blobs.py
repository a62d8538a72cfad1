"""Blobs of an image layout: files named by their digest, and verified against it before they are used.

The layout keeps them as `blobs/ALGORITHM/HEX` (the specification's image-layout.md).
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.errors import SourceError, readable_size
from bangerbuild.formats.hostfile import unreadable
from bangerbuild.formats.oci.layout_files import DAMAGED_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.formats.oci.layout_files import OciLayout, OpenFile

_DIGEST = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Descriptor:
    """A reference to a blob in a document: media type, digest and size."""

    media_type: str
    digest: str
    """`sha256:…` or `sha512:…`, in lower-case hex."""
    size_bytes: int


def is_digest(text: str) -> bool:
    """Whether a text is a digest of an algorithm that is supported here."""
    return _DIGEST.fullmatch(text) is not None


def algorithm_of(digest: str) -> str:
    """The algorithm of a digest, as hashlib calls it."""
    return digest.partition(":")[0]


def blob_name(digest: str) -> str:
    """The path of a blob within a layout."""
    return f"blobs/{digest.replace(':', '/')}"


def check_present(layout: OciLayout, blob: Descriptor, written: str) -> None:
    """Raise a SourceError if the blob is missing or has another size. Its content is not read."""
    size = layout.size_of(blob_name(blob.digest), written)
    if size is None:
        raise SourceError(
            f"'{written}' is not there: the layout has no blob '{blob.digest}'", hint=DAMAGED_HINT
        )
    if size != blob.size_bytes:
        raise SourceError(
            f"'{written}' is not what it must be: it has {size} bytes, not {blob.size_bytes}",
            hint=DAMAGED_HINT,
        )


@contextmanager
def open_blob(layout: OciLayout, blob: Descriptor, written: str) -> Iterator[OpenFile]:
    """Open a blob after verifying its size and digest.

    Raises:
        SourceError: it is missing, or does not match its descriptor.
    """
    check_present(layout, blob, written)
    with layout.open_file(blob_name(blob.digest), written) as opened:
        found = _digest_of(opened, algorithm_of(blob.digest), written)
        if found != blob.digest:
            raise SourceError(
                f"'{written}' is not what it must be: its digest is '{found}', not '{blob.digest}'",
                hint=DAMAGED_HINT,
            )
        opened.file.seek(0)
        yield opened


def read_blob(layout: OciLayout, blob: Descriptor, written: str, *, limit_bytes: int) -> bytes:
    """Read a whole blob into memory; SourceError also if it is larger than `limit_bytes`."""
    if blob.size_bytes > limit_bytes:
        found, most = readable_size(blob.size_bytes), readable_size(limit_bytes)
        raise SourceError(f"'{written}' has {found}; {most} is the most that is read")
    with open_blob(layout, blob, written) as opened:
        return opened.file.read(limit_bytes)


def _digest_of(opened: OpenFile, algorithm: str, written: str) -> str:
    if opened.digest and algorithm_of(opened.digest) == algorithm:
        return opened.digest
    return digest_of(opened.file, algorithm, written)


def digest_of(file: BinaryIO, algorithm: str, written: str) -> str:
    """The digest of a file, in the form that descriptors use; the file is at its end afterwards."""
    digest = hashlib.new(algorithm)
    try:
        file.seek(0)
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    except OSError as err:
        raise unreadable(err, written) from err
    return f"{algorithm}:{digest.hexdigest()}"
