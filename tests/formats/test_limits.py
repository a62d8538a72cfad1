"""Bombs: archives that are small and unpack to more than anybody means them to."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.errors import SourceError
from bangerbuild.formats import sparse
from bangerbuild.formats.archive import open_archive
from bangerbuild.formats.limits import ENTRY_BYTES, FREE_BYTES, Budget, UnpackLimits
from tests.formats.tarmaking import END, entries_of, header, measure_archive, member, pax, read_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
BOMB_BYTES = GIB + 32 * MIB
PAIRS_MAX = 1 << 16


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "some.tar"


def zeros_in_gzip(path: Path, name: bytes, size_bytes: int) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(name, size=size_bytes))
        piece = bytes(16 * MIB)
        for _ in range(size_bytes // len(piece)):
            file.write(piece)
        file.write(END)


def zeros_in_zstd(path: Path, name: bytes, size_bytes: int) -> None:
    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as file:
        file.write(header(name, size=size_bytes))
        piece = bytes(16 * MIB)
        for _ in range(size_bytes // len(piece)):
            file.write(piece)
        file.write(END)


def refusal(archive: Path, limits: UnpackLimits | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        measure_archive(archive, limits=limits or UnpackLimits())
    return caught.value


def test_a_small_source_may_unpack_to_a_gibibyte_and_a_large_one_to_a_hundred_times_its_size() -> None:
    assert UnpackLimits().allowed_bytes(10) == GIB == FREE_BYTES
    assert UnpackLimits().allowed_bytes(GIB) == 100 * GIB


def test_what_somebody_says_counts_alone() -> None:
    assert UnpackLimits(total_bytes=5 * GIB).allowed_bytes(10) == 5 * GIB
    assert UnpackLimits(total_bytes=5 * MIB).allowed_bytes(GIB) == 5 * MIB


@pytest.mark.parametrize("pack", [zeros_in_gzip, zeros_in_zstd])
def test_a_compressed_run_of_zeros_is_refused_with_both_sizes_and_the_way_out(
    archive: Path, pack: Callable[[Path, bytes, int], None]
) -> None:
    pack(archive, b"bomb", BOMB_BYTES)

    error = refusal(archive)

    assert error.brief.startswith(f"'{archive}' has ")
    assert error.brief.endswith("and unpacks to more than 1 GiB")
    assert "`max_size`" in str(error.hint)


def test_the_same_run_is_taken_if_somebody_says_so(archive: Path) -> None:
    zeros_in_zstd(archive, b"disk", BOMB_BYTES)

    assert measure_archive(archive, limits=UnpackLimits(total_bytes=3 * GIB)).data_bytes == BOMB_BYTES


def test_a_limit_that_somebody_sets_holds_for_plain_archives_too(archive: Path) -> None:
    archive.write_bytes(member(b"a", bytes(2 * MIB)) + END)

    assert "unpacks to more than 1 MiB" in refusal(archive, UnpackLimits(total_bytes=MIB)).brief
    assert list(entries_of(archive)) == ["a"]


def test_reading_stops_at_the_limit_and_not_behind_it(archive: Path) -> None:
    archive.write_bytes(gzip.compress(member(b"a", bytes(8 * MIB)) + END))
    with open_archive(archive, limits=UnpackLimits(total_bytes=MIB)) as entries:
        content = next(entries).content
        assert content is not None
        assert len(content.read(MIB - (64 << 10))) == MIB - (64 << 10)
        with pytest.raises(SourceError, match="unpacks to more than 1 MiB"):
            content.read(64 << 10)


def test_empty_files_without_end_are_a_bomb_too(archive: Path) -> None:
    count = 3000
    archive.write_bytes(gzip.compress(b"".join(header(b"%d" % n) for n in range(count)) + END))

    assert "unpacks to more than 10 MiB" in refusal(archive, UnpackLimits(total_bytes=10 * MIB)).brief
    least = count * (ENTRY_BYTES + 512)
    assert measure_archive(archive, limits=UnpackLimits(total_bytes=least + 4096)).inodes == count + 1


def test_directories_that_only_stand_in_paths_count_once_each(archive: Path) -> None:
    deep = pax([(b"path", b"d/" * 1500 + b"x")]) + header(b"x")
    archive.write_bytes(gzip.compress(deep + pax([(b"path", b"d/" * 1500 + b"y")]) + header(b"y") + END))

    assert "unpacks to more than 5 MiB" in refusal(archive, UnpackLimits(total_bytes=5 * MIB)).brief
    assert measure_archive(archive, limits=UnpackLimits(total_bytes=7 * MIB)).directories == 1501


def test_a_path_that_no_program_can_name_is_refused(archive: Path) -> None:
    archive.write_bytes(pax([(b"path", b"d/" * 2047 + b"xy")]) + header(b"x") + END)

    assert "has a path longer than 4095 bytes" in refusal(archive).brief


def test_a_hole_costs_nothing_however_large_it_is(archive: Path) -> None:
    sparse = pax([(b"GNU.sparse.map", b"1099511627264,512"), (b"GNU.sparse.size", b"1099511627776")])
    archive.write_bytes(sparse + member(b"disk", b"x" * 512) + END)

    found = read_all(archive)[0][0]
    assert (found.size_bytes, found.data_extents) == (1 << 40, ((1099511627264, 512),))


@pytest.mark.parametrize("form", ["0.1", "1.0", "old"])
def test_a_sparse_map_without_end_is_refused_before_it_fills_the_memory(
    archive: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse, "PAIRS_MAX", PAIRS_MAX)  # less to pack
    content = {"0.1": pax_map_bomb, "1.0": leading_map_bomb, "old": old_map_bomb}[form]()
    archive.write_bytes(zstandard.ZstdCompressor().compress(content))
    del content

    tracemalloc.start()
    try:
        assert f"has a sparse map of more than {PAIRS_MAX} pieces" in refusal(archive).brief
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 24 * MIB


def pax_map_bomb() -> bytes:
    pairs = b",".join(b"0,0" for _ in range(PAIRS_MAX + 5))
    return pax([(b"GNU.sparse.map", pairs), (b"GNU.sparse.size", b"1")]) + header(b"x") + END


def leading_map_bomb() -> bytes:
    lines = b"%d\n" % (PAIRS_MAX * 8) + b"0\n0\n" * PAIRS_MAX * 8
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")]
    return pax(records) + member(b"x", lines) + END


def old_map_bomb() -> bytes:
    pair = b"%011o\0%011o\0" % (0, 0)
    block = (pair * 21).ljust(504, b"\0") + b"\1" + bytes(7)
    start = bytearray(header(b"x", kind=b"S"))
    start[482] = 1
    start[148:156] = b" " * 8
    start[148:156] = b"%06o\0 " % sum(start)
    return bytes(start) + block * (PAIRS_MAX // 21 + 5) + END


def test_an_xz_stream_that_asks_for_too_much_memory_is_refused(archive: Path) -> None:
    packed = bytearray(lzma.compress(member(b"a", b"1") + END, preset=0))
    header_end = 12 + (packed[12] + 1) * 4
    assert packed[14:16] == b"\x21\x01"  # the LZMA2 filter, whose one property is the size of its dictionary
    packed[16] = 37  # 1.5 GiB
    packed[header_end - 4 : header_end] = zlib.crc32(packed[12 : header_end - 4]).to_bytes(4, "little")
    archive.write_bytes(packed)

    assert "Memory usage limit exceeded" in str(refusal(archive).details)


def test_the_largest_dictionary_that_xz_makes_by_a_preset_is_taken(archive: Path) -> None:
    archive.write_bytes(lzma.compress(member(b"a", b"1") + END, preset=9 | lzma.PRESET_EXTREME))

    assert list(entries_of(archive)) == ["a"]


def test_xz_streams_may_be_padded_with_zeros_and_nothing_else(archive: Path) -> None:
    one, two = lzma.compress(member(b"a", b"1")), lzma.compress(member(b"b", b"2") + END)

    archive.write_bytes(one + bytes(8) + two + bytes(4))
    assert list(entries_of(archive)) == ["a", "b"]

    archive.write_bytes(one + two + b"garbage" * 4)
    assert "does not decompress" in str(refusal(archive).details)


def test_a_budget_says_small_sizes_in_bytes() -> None:
    budget = Budget(UnpackLimits(total_bytes=100), 9, "some.tar")
    budget.spend(100)

    with pytest.raises(SourceError, match=r"'some\.tar' has 9 bytes and unpacks to more than 100 bytes"):
        budget.spend(1)


def test_memory_stays_small_while_a_bomb_is_refused(archive: Path) -> None:
    zeros_in_zstd(archive, b"bomb", BOMB_BYTES)

    tracemalloc.start()
    try:
        refusal(archive)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * MIB
