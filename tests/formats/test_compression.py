"""Compressed streams: what other programs pack comes out again, and no damage passes for an end."""

from __future__ import annotations

import io
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.compression import (
    MAGIC_BYTES,
    CompressionError,
    compression_of,
    decompressed,
    zstd_compressed,
    zstd_expanded,
)
from tests.need import need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAMS = {"gzip": "gzip", "bzip2": "bzip2", "xz": "xz-utils", "zstd": "zstd"}
PLAIN = b"".join(b"%d squared is %d\n" % (number, number * number) for number in range(20_000))
ZSTD_SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"


@pytest.fixture(scope="module", params=PROGRAMS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def packed(kind: str) -> bytes:
    """PLAIN as the program of that name packs it."""
    return pack(kind, PLAIN)


def pack(kind: str, data: bytes, *options: str) -> bytes:
    command = [need(kind, PROGRAMS[kind]), "-c", *options]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def unpacked(kind: str, data: bytes) -> bytes:
    return decompressed(io.BytesIO(data), kind).read()


def test_a_stream_is_told_by_its_first_bytes_and_comes_out_as_it_went_in(kind: str, packed: bytes) -> None:
    assert compression_of(packed[:MAGIC_BYTES]) == kind
    assert unpacked(kind, packed) == PLAIN


@pytest.mark.parametrize("head", [b"", b"PK\x03\x04..", b"\x04\x22\x4d\x18..", b"hello!", bytes(6)])
def test_what_is_not_read_here_has_no_compression(head: bytes) -> None:
    assert compression_of(head) is None


def test_streams_in_a_row_are_one(kind: str, packed: bytes) -> None:
    assert unpacked(kind, packed + pack(kind, b"more")) == PLAIN + b"more"


def test_an_empty_stream_is_whole(kind: str) -> None:
    assert unpacked(kind, pack(kind, b"")) == b""


@SHARED_FIXTURES
@given(data=st.data())
def test_a_stream_cut_anywhere_says_so(kind: str, packed: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(MAGIC_BYTES, len(packed) - 1))
    with pytest.raises(CompressionError, match=f"is a {kind} stream cut short") as caught:
        unpacked(kind, packed[:length])
    assert caught.value.cut


def test_all_before_the_damage_can_be_read(kind: str, packed: bytes) -> None:
    file = decompressed(io.BytesIO(packed[:-4]), kind)
    pieces: list[bytes] = []
    with pytest.raises(CompressionError):
        pieces.extend(iter(lambda: file.read(1 << 10), b""))
    assert PLAIN.startswith(b"".join(pieces))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_damage_is_told_with_what_is_wrong(kind: str) -> None:
    data = bytearray(pack(kind, PLAIN))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(CompressionError, match=f"is a {kind} stream that does not decompress: ") as caught:
        unpacked(kind, bytes(data))
    assert not caught.value.cut


@pytest.mark.parametrize(
    "options", [["--check"], ["--no-check"], ["-19"], ["--no-content-size"]], ids=" ".join
)
def test_every_form_of_zstd_frame_ends_where_it_says(options: list[str]) -> None:
    data = pack("zstd", PLAIN + bytes(1 << 20), *options)  # zeros come as blocks of one repeated byte
    assert unpacked("zstd", data + ZSTD_SKIPPABLE + data) == (PLAIN + bytes(1 << 20)) * 2
    for length in (1, 3, 4, len(data) // 2):
        with pytest.raises(CompressionError, match="cut short"):
            unpacked("zstd", data + ZSTD_SKIPPABLE + data[:-length])


def test_a_frame_to_be_skipped_may_come_first() -> None:
    data = ZSTD_SKIPPABLE + pack("zstd", b"data")
    assert compression_of(data[:MAGIC_BYTES]) == "zstd"
    assert unpacked("zstd", data) == b"data"


@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
@pytest.mark.parametrize("more", [b"\0" * 3000, b"a signature", b"\0\0x", b"\x1f"])
def test_what_follows_the_last_member_is_ignored_as_the_program_does(kind: str, more: bytes) -> None:
    data = pack(kind, b"one, ") + pack(kind, PLAIN)
    assert unpacked(kind, data + more) == b"one, " + PLAIN
    done = subprocess.run([need(kind), "-dc"], input=data + more, capture_output=True, check=False)
    assert done.stdout == b"one, " + PLAIN


def test_a_second_member_that_is_damaged_is_not_taken_for_what_follows() -> None:
    data = bytearray(pack("gzip", PLAIN))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(CompressionError, match="does not decompress"):
        unpacked("gzip", pack("gzip", b"one") + bytes(data))


def test_the_file_stays_the_callers(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(pack("gzip", b"data"))
    with (tmp_path / "a.gz").open("rb") as file:
        with decompressed(file, "gzip") as plain:
            assert plain.read() == b"data"
        assert not file.closed


def test_a_frame_of_zstd_expands_to_what_was_compressed_and_is_the_same_each_time() -> None:
    frame = zstd_compressed(PLAIN)
    assert frame == zstd_compressed(PLAIN)
    assert zstd_expanded(frame, len(PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("damage", "brief"),
    [
        (lambda frame: frame[:-2], "expands to less than"),
        (lambda _: b"", "expands to less than"),
        (lambda _: zstd_compressed(bytes(1 << 24)), "expands to more than"),
    ],
)
def test_a_frame_of_something_else_is_refused_without_expanding_it(
    damage: Callable[[bytes], bytes], brief: str
) -> None:
    with pytest.raises(CompressionError, match=brief):
        zstd_expanded(damage(zstd_compressed(PLAIN)), len(PLAIN))
