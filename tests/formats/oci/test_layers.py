"""Layers as blobs: compressed in several ways, lying, damaged, bombs; and never held in memory."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.layers import merge_layers, open_layers
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.totals import measure
from bangerbuild.tree import EntryType
from tests import PROJECT
from tests.formats.oci.making import LAYER, LayoutMaker, digest_of, directory, layout_of, tarball, whiteout
from tests.formats.oci.reading import read_layers, resolved, streamed
from tests.formats.tarmaking import END, header, member, pax

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "gzip in parts": lambda data: b"".join(
        gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700)
    ),
}
A = tarball(directory(b"d"), member(b"d/a", b"one"))


@pytest.fixture
def maker(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")


def one_layer(maker: LayoutMaker, blob: bytes, content: bytes) -> Path:
    return maker.add(maker.manifest([maker.blob(blob, LAYER)], [digest_of(content)])).path


def refusal(layout: Path, limits: UnpackLimits | None = None) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read_layers(layout, limits=limits)
    assert caught.value.brief.startswith("'oci:image")
    assert "\n" not in caught.value.brief
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_layers_compression_is_told_by_content_whatever_its_type_says(
    tmp_path: Path, compression: str
) -> None:
    path = layout_of(tmp_path / "layout", A, tarball(whiteout(b"d/a")), compress=COMPRESSORS[compression])

    assert [entry.path for entry, _ in read_layers(path)] == ["d"]


@pytest.mark.parametrize("content", [b"", bytes(512), END, bytes(10240)])
def test_an_empty_layer_changes_nothing(tmp_path: Path, content: bytes) -> None:
    path = layout_of(tmp_path / "layout", A, content)

    assert sorted(streamed(path)) == ["d", "d/a"]


def test_an_image_without_layers_is_an_empty_tree(tmp_path: Path) -> None:
    assert read_layers(layout_of(tmp_path / "layout")) == []


def test_a_layer_whose_end_mark_was_left_out_is_whole_if_its_digest_is_right(tmp_path: Path) -> None:
    assert sorted(streamed(layout_of(tmp_path / "layout", A.removesuffix(END)))) == ["d", "d/a"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_padding_of_the_last_member_may_be_left_out_too(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    path = layout_of(tmp_path / "layout", A[: 512 + 512 + 3], compress=compress)  # `umoci insert` does so

    assert sorted(streamed(path)) == ["d", "d/a"]


def test_a_layer_that_ends_inside_an_entry_is_cut_even_if_its_digest_is_right(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", A[: 512 + 512 + 2])

    assert refusal(path).brief == "'oci:image: layer 1 of 1' ends in the middle of 'd/a'"


def test_a_layer_that_is_no_tarball_is_told_by_its_looks(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", A, b"<!DOCTYPE html>" + b" " * 600)

    assert "'oci:image: layer 2 of 2' is no tarball but a web page" in refusal(path).brief


@pytest.mark.parametrize("at", [20, -20])
def test_a_flipped_byte_in_a_blob_is_noticed_before_anything_is_unpacked(tmp_path: Path, at: int) -> None:
    path = layout_of(tmp_path / "layout", A)
    blob = max(path.glob("blobs/sha256/*"), key=lambda blob: blob.read_bytes().startswith(b"\x1f\x8b"))
    data = bytearray(blob.read_bytes())
    data[at] ^= 1
    blob.write_bytes(data)

    error = refusal(path)

    assert error.brief.startswith("'oci:image: layer 1 of 1' is not what it must be: its digest is 'sha256:")
    assert "fetch or copy it again" in str(error.hint)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_diff_id_that_lies_is_noticed(maker: LayoutMaker, compress: Callable[[bytes], bytes]) -> None:
    path = one_layer(maker, compress(A), b"something else")

    error = refusal(path)

    assert error.brief.endswith(f"digest '{digest_of(A)}', not '{digest_of(b'something else')}'")


def test_a_diff_id_may_be_of_another_kind_than_the_digest(maker: LayoutMaker) -> None:
    for compress in (bytes, gzip.compress):
        maker.entries.clear()
        blob = maker.blob(compress(A), LAYER)
        maker.add(maker.manifest([blob], [f"sha512:{hashlib.sha512(A).hexdigest()}"]))
        assert sorted(streamed(maker.path)) == ["d", "d/a"]


def test_what_stands_behind_the_end_mark_counts_in_the_diff_id(maker: LayoutMaker) -> None:
    path = one_layer(maker, gzip.compress(A + b"tail"), A)

    assert "unpacks to what has the digest" in refusal(path).brief


def test_a_stream_that_breaks_off_is_told_by_its_layer(maker: LayoutMaker) -> None:
    content = tarball(member(b"big", os.urandom(300_000)))
    packed = gzip.compress(content)

    error = refusal(one_layer(maker, packed[: len(packed) // 2], content))

    assert "'oci:image: layer 1 of 1' ends in the middle of 'big'" in error.brief


def test_a_layer_that_is_replaced_between_the_passes_is_noticed(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", A, compress=bytes)
    merged = merge_layers(DirectoryLayout(path), resolved(path), written="oci:image")
    blob = path / "blobs/sha256" / digest_of(A).removeprefix("sha256:")
    blob.write_bytes(A.replace(b"one", b"two"))

    with pytest.raises(SourceError, match="'oci:image: layer 1 of 1' changed while it was read"):
        list(merged.entries())


def test_merged_layers_can_be_walked_again_and_measured_on_the_way(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", A, tarball(member(b"d/b", bytes(5000))))
    merged = merge_layers(DirectoryLayout(path), resolved(path), written="oci:image")

    totals = measure(merged.entries())

    assert (totals.inodes, totals.directories, totals.data_bytes) == (4, 2, 3 * 4096)
    assert [entry.path for entry in merged.entries()] == ["d", "d/a", "d/b"]


def test_content_of_an_entry_gone_by_is_refused(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", tarball(member(b"a", b"1"), member(b"b", b"2")))

    with open_layers(DirectoryLayout(path), resolved(path), written="oci:image") as entries:
        content = next(entries).content
        next(entries)
        assert content is not None
        with pytest.raises(ValueError, match="next entry"):
            content.read()


def test_a_hidden_file_is_never_unpacked_but_still_checked(tmp_path: Path) -> None:
    lower = tarball(member(b"a", b"x"), member(b"a/../../b"))

    assert "leads out of the tree" in refusal(layout_of(tmp_path / "layout", lower, A)).brief


# bombs


def test_layers_unpack_to_no_more_than_the_limit_all_together(tmp_path: Path) -> None:
    layers = [tarball(member(b"%d" % number, bytes(MIB))) for number in range(4)]
    path = layout_of(tmp_path / "layout", *layers)

    error = refusal(path, UnpackLimits(total_bytes=3 * MIB))

    assert error.brief.startswith("'oci:image' has ")
    assert error.brief.endswith("unpacks to more than 3 MiB")
    assert "`max_size`" in str(error.hint)
    assert len(read_layers(path, limits=UnpackLimits(total_bytes=5 * MIB))) == 4


def test_what_upper_layers_hide_counts_too(tmp_path: Path) -> None:
    layers = [tarball(member(b"a", bytes(MIB))) for _ in range(4)]

    assert (
        "unpacks to more"
        in refusal(layout_of(tmp_path / "l", *layers), UnpackLimits(total_bytes=3 * MIB)).brief
    )


def test_a_small_layer_of_a_gibibyte_of_zeros_is_refused(maker: LayoutMaker) -> None:
    piece = bytes(16 * MIB)
    pack = zstandard.ZstdCompressor().compressobj()
    blob = pack.compress(header(b"bomb", size=70 << 24)) + b"".join(pack.compress(piece) for _ in range(70))
    path = one_layer(maker, blob + pack.flush(), b"never reached")

    assert "unpacks to more than 1 GiB" in refusal(path).brief


def test_a_huge_hole_is_a_hole(tmp_path: Path) -> None:
    sparse = pax([(b"GNU.sparse.map", b"0,512"), (b"GNU.sparse.size", b"%d" % (1 << 43))])
    path = layout_of(tmp_path / "layout", tarball(sparse + member(b"disk", b"x" * 512)))

    entry, data = read_layers(path)[0]

    assert (entry.size_bytes, entry.data_extents, data) == (1 << 43, ((0, 512),), b"x" * 512)


# order and memory


def test_the_stream_is_the_same_each_time(tmp_path: Path) -> None:
    layers = [
        tarball(*(member(b"%d/%d" % (n % 7, n)) for n in range(start, start + 50))) for start in (0, 40)
    ]
    path = layout_of(tmp_path / "layout", *layers)

    first, second = ([entry.path for entry, _ in read_layers(path)] for _ in range(2))

    assert first == second
    assert len(set(first)) == len(first) == 90


def test_a_hard_link_follows_its_file_and_takes_its_attributes(tmp_path: Path) -> None:
    link = header(b"z", kind=b"1", link=b"d/a", mode=0o111)
    path = layout_of(tmp_path / "layout", tarball(member(b"d/a", b"x", mode=0o600, uid=5)), tarball(link))

    (file, _), (second, _) = read_layers(path)

    assert (file.path, second.path, second.type, second.target) == ("d/a", "z", EntryType.HARD_LINK, "d/a")
    assert (second.mode, second.uid, second.size_bytes, second.content) == (0o600, 5, 0, None)


def test_a_layer_that_is_listed_again_and_again_may_unpack_to_no_more(
    maker: LayoutMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bangerbuild.formats.limits.FREE_BYTES", 0)
    zeros = tarball(member(b"zeros", bytes(16 * MIB)))
    layer = maker.blob(gzip.compress(zeros), LAYER)
    limits = UnpackLimits(ratio=2 * len(zeros) // layer["size"])
    maker.add(maker.manifest([layer], [digest_of(zeros)]), "once")
    maker.add(maker.manifest([layer] * 3, [digest_of(zeros)] * 3), "often")

    assert len(read_layers(maker.path, "once", limits)) == 1
    with pytest.raises(SourceError, match="unpacks to more than"):
        read_layers(maker.path, "often", limits)


MEASURED = """
import re, sys
from pathlib import Path
from bangerbuild.formats.oci.layers import open_layers
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import Platform
path = Path(sys.argv[1])
image = resolve(DirectoryLayout(path), None, Platform("linux", "amd64"), written="image")
count = size = 0
with open_layers(DirectoryLayout(path), image, written="image") as entries:
    for entry in entries:
        count += 1
        while entry.content and (piece := entry.content.read(1 << 20)):
            size += len(piece)
print(count, size, re.search("VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


def read_in_a_process_of_its_own(layout: Path) -> tuple[int, int, int]:
    """How many entries it met, their bytes, and the most memory it held, in KiB."""
    command = [sys.executable, "-c", MEASURED, str(layout)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    count, size, most = map(int, done.stdout.split())
    return count, size, most


def test_a_layer_is_never_held_in_memory(maker: LayoutMaker, tmp_path: Path) -> None:
    piece, pieces = os.urandom(16 * MIB), 20  # too far apart for the compression to find them again
    digest, pack = hashlib.sha256(), zstandard.ZstdCompressor(level=1).compressobj()
    with (tmp_path / "blob").open("wb") as blob:
        for part in (header(b"big", size=pieces * len(piece)), *[piece] * pieces, END):
            digest.update(part)
            blob.write(pack.compress(part))
        blob.write(pack.flush())
    with (tmp_path / "blob").open("rb") as blob:
        name = hashlib.file_digest(blob, "sha256").hexdigest()
    size = (tmp_path / "blob").rename(maker.at(name)).stat().st_size
    described = {"mediaType": LAYER, "digest": f"sha256:{name}", "size": size}
    maker.add(maker.manifest([described], [f"sha256:{digest.hexdigest()}"]))

    count, size, most_kib = read_in_a_process_of_its_own(maker.path)
    maker.at(name).unlink()

    assert (count, size) == (1, 320 * MIB)
    assert most_kib < 60 << 10


def test_a_hundred_thousand_entries_fit_in_little_memory(tmp_path: Path) -> None:
    names = [b"usr/share/doc/package-%d/changelog.%d.gz" % (n // 20, n) for n in range(100_000)]
    path = layout_of(tmp_path / "layout", tarball(*(header(name) for name in names)), compress=zlib_fast)

    count, _, most_kib = read_in_a_process_of_its_own(path)

    assert count == 100_000
    assert most_kib < 100 << 10


def zlib_fast(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1)
