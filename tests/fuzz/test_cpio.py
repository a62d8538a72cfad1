"""cpio archives: entries are read, or the archive is refused."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING

import zstandard
from hypothesis import example, given

from bangerbuild.formats.cpio import open_cpio
from bangerbuild.formats.limits import UnpackLimits
from tests.formats.cpiomaking import TRAILER, record
from tests.fuzz.frame import damaged, few, within_limits

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

ARCHIVE = b"".join(
    (
        record(b".", mode=0o40755),
        record(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n" * 20),
        record(b"link", b"../etc/passwd", mode=0o120777),
        record(b"a", ino=3, nlink=3),
        record(b"dev", mode=0o20600, own_major=5, own_minor=1),
        record(b"b", b"data", ino=3, nlink=3),
        record(b"c", ino=3, nlink=3),
        record(b"summed", b"abc", magic=b"070702", check=294),
        TRAILER,
    )
)
PLAIN = ARCHIVE + bytes(512) + ARCHIVE
PACKERS = (gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress)
SPECIMENS = [PLAIN, PLAIN, *(ARCHIVE + bytes(64) + pack(ARCHIVE) + ARCHIVE for pack in PACKERS)]
HOT = [
    at + field
    for at in range(len(PLAIN))
    if PLAIN.startswith((b"070701", b"070702"), at)
    for field in (0, 6, 14, 22, 30, 38, 54, 62, 70, 78, 94, 102, 110)
]


@few(200)
@given(data=damaged(SPECIMENS, HOT))
@example(data=record(b"x", nlink=2, ino=1) + record(b"x", nlink=2, ino=1) + TRAILER)
@example(data=gzip.compress(bytes(1 << 20)) * 100)
def test_a_damaged_archive(place: Place, data: bytes) -> None:
    path = place.inside / "a.cpio"
    path.write_bytes(data)
    with within_limits(), open_cpio(path, written="a.cpio", limits=UnpackLimits(64 << 20)) as entries:
        for entry in entries:
            assert not entry.path.startswith("/")
            assert ".." not in entry.path.split("/")
            while entry.content is not None and entry.content.read(1 << 20):
                pass
    place.assert_nothing_else_was_touched()


def test_the_specimens_are_read(place: Place) -> None:
    for data in SPECIMENS:
        path = place.inside / "a.cpio"
        path.write_bytes(data)
        with open_cpio(path, written="a.cpio") as entries:
            assert len(list(entries)) % 8 == 0
