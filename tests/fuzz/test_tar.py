"""Tarballs: entries are read, or the archive is refused; by the stream and by the index of image archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING

from hypothesis import example, given

from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.tarindex import read_index
from bangerbuild.formats.tarstream import TarStream
from tests.formats.tarmaking import END, header, member, pax, with_checksum
from tests.fuzz.frame import damaged, few, within_limits

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

PLAIN = b"".join(
    (
        header(b"etc/", kind=b"5", mode=0o755),
        member(b"etc/passwd", b"root:x:0:0::/:/bin/sh\n" * 60),
        pax([(b"path", b"a" * 200), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.a", b"b"), (b"size", b"3")]),
        member(b"long", b"abc"),
        pax([(b"SCHILY.acl.access", b"user::rwx,group::r--,other::---"), (b"uid", b"70000")]),
        member(b"acl", b"x"),
        pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9000")]),
        member(b"sparse", b"1\n512\n3\n".ljust(512, b"\0") + b"abc"),
        header(b"link", kind=b"2", link=b"../etc/passwd"),
        header(b"hard", kind=b"1", link=b"etc/passwd"),
        header(b"dev", kind=b"3"),
        END,
    )
)
SPECIMENS = [PLAIN, PLAIN, PLAIN, gzip.compress(PLAIN), bz2.compress(PLAIN), lzma.compress(PLAIN)]
HOT = [
    block + field
    for block in range(0, len(PLAIN), 512)
    for field in (0, 100, 124, 136, 148, 156, 157, 257, 345)
]


def repaired(data: bytes) -> bytes:
    """With right checksums in all headers, as whoever makes a hostile one gives it."""
    blocks = (data[at : at + 512] for at in range(0, len(data), 512))
    return b"".join(
        with_checksum(one) if one[257:262] == b"ustar" and len(one) == 512 else one for one in blocks
    )


@few(200)
@given(data=damaged(SPECIMENS, HOT) | damaged([PLAIN], HOT).map(repaired))
@example(data=pax([(b"SCHILY.acl.access", b"user:1:rwx:" + b"9" * 5000)]) + header(b"x") + END)
def test_a_damaged_tarball(place: Place, data: bytes) -> None:
    path = place.inside / "a.tar"
    path.write_bytes(data)
    with within_limits(), open_archive(path, written="a.tar", limits=UnpackLimits(64 << 20)) as entries:
        for entry in entries:
            while entry.content is not None and entry.content.read(1 << 20):
                pass
    with within_limits(), path.open("rb") as file:
        read_index(TarStream(file, "a.tar"))
    place.assert_nothing_else_was_touched()


def test_the_specimens_are_read(place: Place) -> None:
    for data in SPECIMENS:
        path = place.inside / "a.tar"
        path.write_bytes(data)
        with open_archive(path, written="a.tar") as entries:
            assert len(list(entries)) == 8
