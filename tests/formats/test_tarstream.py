"""The bytes of a tarball: as many as are asked for, or an error that says where it broke."""

from __future__ import annotations

import gzip
import hashlib
import io

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.formats.tarstream import MemberContent, TarStream

DATA = bytes(range(256)) * 4000


def stream(data: bytes = DATA, **options: object) -> TarStream:
    return TarStream(io.BytesIO(data), "a.tar", **options)  # type: ignore[arg-type] # passed through


@pytest.fixture(params=["plain", "gzip"])
def data(request: pytest.FixtureRequest) -> bytes:
    return DATA if request.param == "plain" else gzip.compress(DATA)


def test_what_is_asked_for_comes_in_order(data: bytes) -> None:
    it = stream(data)
    assert it.read_exactly(300) == DATA[:300]
    it.skip(1000, 24)
    assert it.position == 1324
    assert it.read_exactly(0) == b""
    assert it.read_some(10) == DATA[1324:1334]
    assert it.read_exactly(len(DATA) - 1334) == DATA[1334:]
    assert it.read_some(1) == b""


def test_an_end_in_the_middle_is_told_with_its_place(data: bytes) -> None:
    it = stream(data)
    it.place = "in the middle of 'etc/motd'"
    with pytest.raises(SourceError, match=r"^'a.tar' ends in the middle of 'etc/motd'$") as caught:
        it.read_exactly(len(DATA) + 1)
    assert "cut short" in str(caught.value.hint)
    with pytest.raises(SourceError, match=r"^'a.tar' ends before its first entry$"):
        stream(data).skip(len(DATA) + 1)


def test_padding_may_be_missing_where_a_digest_vouches_for_the_end(data: bytes) -> None:
    stream(data, is_whole=True).skip(len(DATA), 512)
    with pytest.raises(SourceError):
        stream(data, is_whole=True).skip(len(DATA) + 1, 512)
    with pytest.raises(SourceError):
        stream(data).skip(len(DATA), 512)


def test_a_compressed_stream_is_digested_as_it_comes_out() -> None:
    digest = hashlib.sha256()
    it = stream(gzip.compress(DATA), digest=digest)
    it.read_exactly(10)
    it.skip(100)
    it.drain()
    assert digest.hexdigest() == hashlib.sha256(DATA).hexdigest()


def test_a_wrong_checksum_behind_the_end_shows_when_it_is_drained() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-8] ^= 1
    it = stream(bytes(packed))
    it.read_exactly(10)
    with pytest.raises(SourceError, match=r"^'a.tar' can't be read ") as caught:
        it.drain()
    assert "incorrect data check" in str(caught.value.details)


def test_all_that_is_passed_counts_against_the_budget(data: bytes) -> None:
    it = stream(data, budget=Budget(UnpackLimits(10_000), len(data), "a.tar"))
    it.skip(9_000)
    it.read_exactly(1_000)
    with pytest.raises(SourceError, match=r"a\.tar"):
        it.skip(1)


def test_the_content_of_a_member_is_read_in_any_pieces_and_finished_with_its_padding() -> None:
    it = stream()
    content = MemberContent(it, 700)
    buffer = bytearray(100)
    assert content.readinto(buffer) == 100
    assert bytes(buffer) == DATA[:100]
    assert content.read(50) == DATA[100:150]
    content.finish()
    assert it.position == 1024
    assert content.closed


def test_content_ends_with_the_member_and_is_gone_after_it() -> None:
    content = MemberContent(stream(), 700)
    assert content.as_file().read() == DATA[:700]
    assert content.read(1) == b""
    content.finish()
    with pytest.raises(ValueError, match="has gone on to its next entry"):
        content.read()
