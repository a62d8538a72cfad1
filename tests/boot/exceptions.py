"""A reader of dm-snapshot exception stores of the tests' own: the judge is not the code it judges.

The format is that of the kernel's drivers/md/dm-snap-persistent.c.
"""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 4096
MAGIC = 0x70416E53
PAIRS_PER_AREA = CHUNK_BYTES // 16


def exceptions(store: Path) -> Iterator[tuple[int, bytes]]:
    """Each chunk number of the base that the store holds, with what it holds for it."""
    with store.open("rb") as file:
        magic, valid, version, chunk_sectors = struct.unpack("<4I", file.read(16))
        assert (magic, valid, version, chunk_sectors) == (MAGIC, 1, 1, CHUNK_BYTES // 512)
        area_at = 1
        while True:
            file.seek(area_at * CHUNK_BYTES)
            for old, new in struct.iter_unpack("<QQ", file.read(CHUNK_BYTES)):
                if new == 0:
                    return
                file.seek(new * CHUNK_BYTES)
                yield old, file.read(CHUNK_BYTES)
            area_at += PAIRS_PER_AREA + 1


def merge(base: Path, store: Path, target: Path) -> Path:
    """A sparse raw image with what a guest sees on the snapshot."""
    subprocess.run([need("cp", "coreutils"), "--sparse=always", base, target], check=True)
    with target.open("r+b") as image:
        for chunk, content in exceptions(store):
            image.seek(chunk * CHUNK_BYTES)
            image.write(content)
    return target


def write_empty_store(store: Path, size_bytes: int) -> None:
    """A store without exceptions, for trying the machine on a base as it is."""
    with store.open("wb") as file:
        file.write(struct.pack("<4I", MAGIC, 1, 1, CHUNK_BYTES // 512))
        file.truncate(size_bytes)
