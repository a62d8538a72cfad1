"""Any part of what comes out of a compressed file, in any order, as often as it is asked for."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.formats import unpacked_bytes
from bangerbuild.formats.slices import PlainBytes, part_of
from bangerbuild.formats.unpacked_bytes import UnpackedBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

RANDOM = random.Random(1)  # noqa: S311 - the same each time
CONTENT = RANDOM.randbytes(40_000) * 3 + bytes(300_000) + RANDOM.randbytes(40_000)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.fixture(autouse=True)
def many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than are kept."""
    monkeypatch.setattr(unpacked_bytes, "_STATE_DISTANCE_BYTES", 1000)
    monkeypatch.setattr(unpacked_bytes, "_PASSED_BYTES", 700)
    monkeypatch.setattr(unpacked_bytes, "_PIECE_BYTES", 500)
    monkeypatch.setattr(unpacked_bytes, "_STATES_MAX", 10)


@pytest.fixture(params=COMPRESSORS)
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UnpackedBytes]:
    path = tmp_path / "packed"
    parts = [CONTENT[at : at + 100_000] for at in range(0, len(CONTENT), 100_000)]
    path.write_bytes(b"".join(map(COMPRESSORS[request.param], parts)))
    with path.open("rb") as file:
        yield UnpackedBytes(file, request.param, "it")


def read_part(source: UnpackedBytes, offset: int, size: int) -> bytes:
    with part_of(source, offset, size) as file:
        return file.read()


def test_parts_can_be_read_in_any_order(packed: UnpackedBytes) -> None:
    for _ in range(40):
        offset = RANDOM.randrange(len(CONTENT))
        size = RANDOM.choice([0, 1, 512, 70_000])
        assert read_part(packed, offset, size) == CONTENT[offset : offset + size]


@pytest.mark.parametrize("more", [b"", bytes(3000), b"a signature", b"\0\0x", b"\x1f"])
def test_what_follows_the_last_gzip_member_is_ignored(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(CONTENT) + gzip.compress(b"last") + more)
    with (tmp_path / "packed").open("rb") as file:
        source = UnpackedBytes(file, "gzip", "it")
        assert read_part(source, len(CONTENT), 100) == b"last"
        assert read_part(source, 0, 10) == CONTENT[:10]


def test_going_back_in_gzip_does_not_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "packed"
    path.write_bytes(gzip.compress(RANDOM.randbytes(200_000)))

    class Counted:
        """A file that counts what is read of it."""

        def __init__(self, file: BinaryIO) -> None:
            self.file, self.count = file, 0

        def seek(self, offset: int) -> int:
            return self.file.seek(offset)

        def read(self, size: int) -> bytes:
            self.count += size
            return self.file.read(size)

    with path.open("rb") as file:
        counted = Counted(file)
        unpacked = UnpackedBytes(counted, "gzip", "it")  # type: ignore[arg-type] # as much of a file as it needs
        unpacked.read_at(190_000, 1)
        counted.count = 0
        for offset in (150_000, 100_000, 150_000):
            unpacked.read_at(offset, 1)
        assert counted.count < 3 * 60_000


def test_what_is_gone_when_it_is_read_is_a_change(packed: UnpackedBytes, tmp_path: Path) -> None:
    with (tmp_path / "packed").open("r+b") as file:
        file.truncate(50)
    with pytest.raises(SourceError, match="'it' changed while it was read"):
        packed.read_at(len(CONTENT) - 1, 1)


@given(moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3000), st.integers(0, 3000))))
def test_a_part_is_a_file_like_any_other(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int, int]]
) -> None:
    whole, alone = (tmp_path_factory.mktemp("parts") / name for name in ("whole", "alone"))
    whole.write_bytes(CONTENT[:5000])
    alone.write_bytes(CONTENT[1000:3000])
    with (
        whole.open("rb") as file,
        alone.open("rb") as other,
        part_of(PlainBytes(file), 1000, 2000) as part,
    ):
        for whence, offset, size in moves:
            assert part.seek(offset, whence) == other.seek(offset, whence)
            assert part.read(size) == other.read(size)
            assert part.tell() == other.tell()
        with pytest.raises(ValueError, match="before the start"):
            part.seek(-2001, 2)
